//! Images that stand in for the public ones of services: this host's Postgres as Debian packs it, and an nginx that
//! answers as Ollama does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::docker::{Engine, run};
use crate::support::standin::bodies::ollama;

/// What the public image does at its start, with the variables of the same names.
const POSTGRES: &str = r#"#!/bin/sh
set -e
data=/var/lib/postgresql/data
id postgres >/dev/null 2>&1 || useradd --system postgres
mkdir -p $data
chown postgres $data
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -e $data/PG_VERSION ]; then
    as_postgres "$PROGRAMS/initdb" --pgdata=$data --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
        --auth=scram-sha-256 --locale=C --encoding=UTF8 --no-sync
    echo "host all all all scram-sha-256" >> $data/pg_hba.conf
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | as_postgres "$PROGRAMS/postgres" --single -F -D $data postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups \
    "$PROGRAMS/postgres" -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off
"#;

/// Makes the image `name` of Postgres, on top of `base`.
pub fn postgres(engine: &Engine<'_>, name: &str, base: &str) {
    let dir = tempfile::tempdir().unwrap();
    let programs = glob::glob("/usr/lib/postgresql/*/bin").unwrap().flatten().last().expect("Debian's postgresql");
    let all = programs.parent().unwrap();
    let version = all.file_name().unwrap();
    let servers = ["postgres", "initdb"].map(|program| programs.join(program));
    let modules: Vec<PathBuf> = ["plpgsql.so", "dict_snowball.so"].map(|name| all.join("lib").join(name)).into();
    let encodings = glob::glob(&format!("{}/lib/*_and_*.so", all.display())).unwrap().flatten();
    let share = Path::new("/usr/share/postgresql").join(version);
    let files = libraries(&servers).into_iter().chain(servers).chain(modules).chain(encodings).chain([share]);
    let root = dir.path().join("root.tar");
    run(Command::new("tar")
        .args(["--create", "--dereference", "--file"])
        .arg(root)
        .args(files.collect::<BTreeSet<_>>()));
    let start = dir.path().join("start");
    fs::write(&start, POSTGRES).unwrap();
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
    let path = programs.display();
    let text = format!("FROM {base}\nADD root.tar /\nCOPY start /\nENV PROGRAMS={path}\nCMD [\"/start\"]\n");
    build(engine, name, dir.path(), &text);
}

/// What these programs load that a small Debian lacks; the C library is the image's own.
fn libraries(programs: &[PathBuf]) -> Vec<PathBuf> {
    let said = run(Command::new("ldd").args(programs));
    let paths = said.lines().filter_map(|line| line.split_once("=> ")?.1.split(' ').next()).map(PathBuf::from);
    let is_own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ["libc.", "libm.", "libpthread.", "libdl.", "librt.", "libresolv."].iter().any(|own| name.starts_with(own))
    };
    paths.filter(|path| path.is_absolute() && !is_own(path)).collect()
}

/// Makes the image `name` of an Ollama that takes everything for an attack, on top of `base`.
pub fn ollama_that_is_sure(engine: &Engine<'_>, name: &str, base: &str) {
    let dir = tempfile::tempdir().unwrap();
    let text = |answer: crate::support::standin::Answer| String::from_utf8(answer.body).unwrap();
    let (models, opinion) =
        (text(ollama::tags(&["phi3.5:3.8b"])), text(ollama::label(&[("mal", -0.01), ("ben", -4.6)])));
    let site = format!(
        "events {{}}\nhttp {{ server {{ listen 11434; default_type application/json;\n\
         location /api/tags {{ return 200 '{models}'; }}\nlocation /api/chat {{ return 200 '{opinion}'; }} }} }}\n"
    );
    fs::write(dir.path().join("nginx.conf"), site).unwrap();
    build(engine, name, dir.path(), &format!("FROM {base}\nCOPY nginx.conf /etc/nginx/nginx.conf\n"));
}

fn build(engine: &Engine<'_>, name: &str, dir: &Path, dockerfile: &str) {
    fs::write(dir.join("Dockerfile"), dockerfile).unwrap();
    let dir = dir.display().to_string();
    run(engine.command(&["build", "--network", "none", "--tag", name, &dir]).env("DOCKER_BUILDKIT", "0"));
}
