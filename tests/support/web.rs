//! A real web server with a page or two, and clients of it, in network namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Namespace;
use super::daemon::eventually;

#[derive(Clone, Copy, Debug)]
pub enum Software {
    Nginx,
    Apache,
}

/// A running web server; stopped when dropped.
pub struct WebServer {
    child: Child,
    pub access_log: PathBuf,
}

impl WebServer {
    /// Serves on port 80 in `namespace`, with everything it needs in `dir`, and logs in combined.
    pub fn start(software: Software, dir: &Path, namespace: &Namespace) -> WebServer {
        let log = match software {
            Software::Nginx => "access_log DIR/access.log combined;",
            Software::Apache => APACHE_LOG,
        };
        WebServer::start_logging(log, software, dir, namespace)
    }

    /// The same with `log` in its configuration, `web.conf` in `dir`.
    pub fn start_logging(log: &str, software: Software, dir: &Path, namespace: &Namespace) -> WebServer {
        // Its workers are another user.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(dir.join("html")).unwrap();
        fs::write(dir.join("html/index.html"), "<h1>The lamp shop</h1>").unwrap();
        fs::write(dir.join("html/lamps.html"), "<h1>Lamps</h1>").unwrap();
        let file = dir.join("web.conf").display().to_string();
        let shown = dir.display().to_string();
        let (config, command) = match software {
            Software::Nginx => (NGINX, vec!["nginx", "-e", "stderr", "-c", &file, "-p", &shown]),
            Software::Apache => (APACHE, vec!["apache2", "-D", "FOREGROUND", "-f", &file, "-d", &shown]),
        };
        fs::write(&file, config.replace("LOG;", log).replace("DIR", &shown)).unwrap();
        let command = namespace.command(&command);
        let errors = fs::File::create(dir.join("web.err")).unwrap();
        let child = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).stderr(errors).spawn().unwrap();
        let mut server = WebServer { child, access_log: dir.join("access.log") };
        eventually(&format!("{software:?} listens"), || {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{software:?}: {}", fs::read_to_string(dir.join("web.err")).unwrap());
            namespace.inside(|| std::net::TcpStream::connect("127.0.0.1:80").ok())
        });
        server
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // SIGTERM, so that it takes its workers along.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

const NGINX: &str = r#"
daemon off;
worker_processes 1;
pid DIR/nginx.pid;
events { worker_connections 256; }
http {
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    LOG;
    server {
        listen 80;
        listen [::]:80;
        root DIR/html;
    }
}
"#;

const APACHE: &str = r#"
ServerName shop.example
DefaultRuntimeDir DIR
PidFile DIR/apache.pid
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
TypesConfig /etc/mime.types
StartServers 1
Listen 80
DocumentRoot DIR/html
ErrorLog DIR/error.log
LOG;
"#;

const APACHE_LOG: &str = r#"
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined
CustomLog DIR/access.log combined
"#;

/// One client: an address in a namespace, and the server as it is reached from there.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub namespace: &'a Namespace,
    pub from: &'a str,
    pub server: &'a str,
}

impl Client<'_> {
    /// The status of the answer to `GET target`, if there is one within `secs`. `target` may have
    /// a range in it, such as `[1-40]`: one request each, and the last one's status counts.
    pub fn get(&self, target: &str, agent: &str, secs: u32) -> Option<u16> {
        let secs = secs.to_string();
        let url = format!("http://{}{target}", self.server);
        let mut words = vec!["curl", "--silent", "--path-as-is", "--interface", self.from, "--max-time", &secs];
        words.extend(["--user-agent", agent, "--output", "/dev/null", "--write-out", "%{http_code}\n", &url]);
        let command = self.namespace.command(&words);
        let output = Command::new(&command[0]).args(&command[1..]).env("HOME", "/dev/null").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // 000: no answer.
        text.lines().last()?.parse().ok().filter(|code| output.status.success() && *code > 0)
    }

    /// Whether the server answers a harmless request.
    pub fn is_served(&self) -> bool {
        self.get("/lamps.html", "Mozilla/5.0", 3) == Some(200)
    }

    /// Whether a connection comes to nothing. A SYN that is lost is sent again after one second.
    pub fn is_shut_out(&self) -> bool {
        self.get("/lamps.html", "Mozilla/5.0", 1).is_none()
    }
}
