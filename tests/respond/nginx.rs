//! A real nginx that reads what we write.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use palisade::respond::{Nginx, NginxConfig, NginxFormat, RespondError, Responder};
use tempfile::TempDir;

use super::{apply, held, lift, net, targets};
use crate::support::daemon::eventually;
use crate::support::web::{Software, WebServer};
use crate::support::{Namespace, namespaces_or_skip};

/// nginx in a namespace, with a directory of its own.
pub struct Site {
    pub dir: TempDir,
    namespace: Namespace,
    // Ends before its directory.
    _server: Option<WebServer>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self._server = None;
    }
}

impl Site {
    /// Serves with `directives` in its http block.
    pub fn start(directives: &str) -> Site {
        let (dir, namespace) = (tempfile::tempdir().unwrap(), Namespace::new());
        fs::write(dir.path().join("palisade.conf"), "").unwrap();
        let log = format!("access_log DIR/access.log combined; {directives}")
            .replace("DIR", &dir.path().display().to_string());
        let server = WebServer::start_logging(&log, Software::Nginx, dir.path(), &namespace);
        Site { dir, namespace, _server: Some(server) }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("palisade.conf")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    pub fn config(&self) -> NginxConfig {
        let conf = self.dir.path().join("web.conf").display().to_string();
        let line = |arguments: &[&str]| {
            let mut line =
                self.namespace.command(&[&["/usr/sbin/nginx", "-e", "stderr", "-c", &conf], arguments].concat());
            line[0] = "/bin/ip".into();
            line
        };
        NginxConfig {
            file: self.file(),
            test: line(&["-t", "-q"]),
            reload: line(&["-s", "reload"]),
            min_reload_secs: 0,
            ..NginxConfig::default()
        }
    }

    /// The status that a client gets behind the proxy on this host.
    fn status(&self, client: &str, port: u16) -> u16 {
        let header = format!("X-Forwarded-For: {client}");
        let url = format!("http://127.0.0.1:{port}/lamps.html");
        let words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "3", "-H", &header, &url];
        let command = self.namespace.command(&words);
        let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().parse().unwrap()
    }

    /// Waits until this client gets this status: nginx changes its workers after it was told to.
    fn answers(&self, client: &str, port: u16, status: u16) {
        eventually(&format!("{client} gets {status}"), || (self.status(client, port) == status).then_some(()));
    }
}

const BEHIND_A_CDN: &str = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; include DIR/palisade.conf;";

async fn started(config: &NginxConfig) -> Nginx {
    let mut responder = Nginx::new(config).unwrap();
    responder.start().await.unwrap();
    responder.allow(&[]).await.unwrap();
    responder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_behind_a_cdn_is_refused_and_another_behind_the_same_proxy_is_served() {
    if !namespaces_or_skip("nginx behind a CDN") {
        return;
    }
    let geo = "geo $shut { default 0; include DIR/palisade.conf; } set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; \
               server { listen 81; root DIR/html; if ($shut) { return 403; } }";
    for (format, port, directives) in [(NginxFormat::Deny, 80, BEHIND_A_CDN), (NginxFormat::Geo, 81, geo)] {
        let site = Site::start(directives);
        let mut responder = started(&NginxConfig { format, ..site.config() }).await;
        for client in ["203.0.113.7", "203.0.113.8", "2001:db8:7::1"] {
            assert_eq!(site.status(client, port), 200, "{client}, {format:?}");
        }
        apply(&mut responder, &["203.0.113.7", "2001:db8:7::/64"], 600).await;
        site.answers("203.0.113.7", port, 403);
        site.answers("2001:db8:7::1", port, 403);
        assert_eq!(site.status("203.0.113.8", port), 200, "{format:?}: the neighbour never notices");
        assert_eq!(site.status("2001:db8:8::1", port), 200);
        responder.allow(&[net("203.0.113.0/29")]).await.unwrap();
        site.answers("203.0.113.7", port, 200);
        // A worker from before may answer once more.
        site.answers("2001:db8:7::1", port, 403);
        responder.allow(&[]).await.unwrap();
        site.answers("203.0.113.7", port, 403);
        lift(&mut responder, &["203.0.113.7"]).await;
        site.answers("203.0.113.7", port, 200);
        assert_eq!(targets(&mut responder).await, ["2001:db8:7::/64"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_nginx_conf_leaves_the_old_list_in_force_and_is_told() {
    if !namespaces_or_skip("nginx with a broken configuration") {
        return;
    }
    let site = Site::start(BEHIND_A_CDN);
    let mut responder = started(&site.config()).await;
    apply(&mut responder, &["203.0.113.7"], 600).await;
    site.answers("203.0.113.7", 80, 403);
    let (before, conf) = (site.text(), fs::read_to_string(site.dir.path().join("web.conf")).unwrap());
    fs::write(site.dir.path().join("web.conf"), format!("{conf}\nlisten_to_me;\n")).unwrap();
    let permits = super::permits(&["203.0.113.8"], 600);
    let error = responder.apply(&permits, palisade::event::Timestamp::now()).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("[emerg]") && told.contains("unknown directive \"listen_to_me\""), "{told}");
    assert_eq!(site.text(), before, "the old file is back");
    assert_eq!(targets(&mut responder).await, ["203.0.113.7/32"]);
    // A worker from before may answer once more.
    site.answers("203.0.113.7", 80, 403);
    assert_eq!(site.status("203.0.113.8", 80), 200);
    fs::write(site.dir.path().join("web.conf"), conf).unwrap();
    responder.start().await.unwrap();
    responder.apply(&permits, palisade::event::Timestamp::now()).await.unwrap();
    site.answers("203.0.113.8", 80, 403);
    site.answers("203.0.113.7", 80, 403);
}

/// A responder whose nginx is a script that counts its reloads, and their number.
struct Counted {
    dir: TempDir,
    config: NginxConfig,
}

impl Counted {
    fn new() -> Counted {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("nginx");
        fs::write(&script, format!("#!/bin/sh\necho $1 >> {}\n", dir.path().join("calls").display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let line = |word: &str| vec![script.display().to_string(), word.into()];
        let file = dir.path().join("palisade.conf");
        let config = NginxConfig {
            file,
            test: line("test"),
            reload: line("reload"),
            min_reload_secs: 0,
            ..NginxConfig::default()
        };
        Counted { dir, config }
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }
}

#[tokio::test]
async fn nginx_is_reloaded_when_something_changed_and_not_too_often() {
    let mut nginx = Counted::new();
    let mut responder = started(&nginx.config).await;
    assert_eq!(nginx.calls(), ["test", "reload"], "once at the start: nobody knows what it has read");
    apply(&mut responder, &["203.0.113.7"], 600).await;
    assert_eq!(nginx.calls().len(), 4);
    lift(&mut responder, &["203.0.113.9"]).await;
    responder.allow(&[]).await.unwrap();
    responder.check().await.unwrap();
    assert_eq!(nginx.calls().len(), 4, "nothing changed");

    nginx.config.min_reload_secs = 1;
    let mut responder = started(&nginx.config).await;
    let before = Instant::now();
    apply(&mut responder, &["203.0.113.8"], 600).await;
    assert!(before.elapsed() >= Duration::from_millis(900), "{:?}", before.elapsed());
    assert_eq!(nginx.calls().len(), 8);
}

#[tokio::test]
async fn the_file_is_ours_alone_and_outlives_us() {
    let nginx = Counted::new();
    let file = &nginx.config.file;
    let mut responder = started(&NginxConfig { mode: "0640".into(), ..nginx.config.clone() }).await;
    let (is_root, other) = (nix::unistd::geteuid().is_root(), 4321);
    if is_root {
        chown(file, Some(other), Some(other)).unwrap();
    }
    apply(&mut responder, &["203.0.113.7", "2001:db8:7::/64"], 600).await;
    let meta = fs::metadata(file).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o640);
    assert!(!is_root || (meta.uid(), meta.gid()) == (other, other), "its owner stays");
    assert_eq!(fs::read_dir(nginx.dir.path()).unwrap().count(), 3, "nothing else is left there");
    drop(responder);

    let mut again = Nginx::new(&nginx.config).unwrap();
    again.start().await.unwrap();
    let held = held(&mut again).await;
    assert_eq!(held.keys().collect::<Vec<_>>(), ["2001:db8:7::/64", "203.0.113.7/32"]);
    assert!(held.values().all(|secs| (570..=600).contains(secs)), "{held:?}");
    again.allow(&[]).await.unwrap();
    again.check().await.unwrap();
    fs::remove_file(file).unwrap();
    assert!(matches!(again.check().await, Err(RespondError::Lost)));

    let foreign = "deny 192.0.2.1;\n";
    fs::write(file, foreign).unwrap();
    let error = again.start().await.unwrap_err().to_string();
    assert!(error.contains("line 1 is not Palisade's: \"deny 192.0.2.1;\""), "{error}");
    again.allow(&[net("192.0.2.9")]).await.unwrap_err();
    assert_eq!(fs::read_to_string(file).unwrap(), foreign, "left as it was");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let mut nginx = Counted::new();
    let child = nginx.dir.path().join("child");
    nginx.config.timeout_secs = 1;
    nginx.config.reload = ["/bin/sh", "-c", "sleep 600 & echo $! > \"$0\"; wait"].map(String::from).to_vec();
    nginx.config.reload.push(child.display().to_string());
    let mut responder = Nginx::new(&nginx.config).unwrap();
    responder.start().await.unwrap();
    let error = responder.allow(&[]).await.unwrap_err();
    assert!(matches!(error, RespondError::TimedOut { secs: 1, .. }), "{error}");
    let pid = fs::read_to_string(child).unwrap();
    let status = format!("/proc/{}/status", pid.trim());
    eventually("the child of the child ends", || {
        let state = fs::read_to_string(&status).unwrap_or_default();
        (state.is_empty() || state.contains("Z (zombie)")).then_some(())
    });
}

#[test]
fn settings_that_cannot_be_are_told() {
    let with = |change: fn(&mut NginxConfig)| {
        let mut config = NginxConfig::default();
        change(&mut config);
        Nginx::new(&config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(with(|_| ()), "");
    assert!(with(|config| config.file = "palisade.conf".into()).contains("`file` needs an absolute path"));
    assert!(with(|config| config.reload = vec!["nginx".into()]).contains("`reload` needs an absolute path"));
    assert!(with(|config| config.test = vec![]).contains("`test` needs an absolute path"));
    assert!(with(|config| config.mode = "rw-r--r--".into()).contains("`mode` needs permissions"));
}
