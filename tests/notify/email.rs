//! A real mail server, Debian's aiosmtpd, with STARTTLS and a password.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use palisade::notify::{AlertConfig, Failure, Message, open};

use super::{HOSTILE, alert, message, real_servers_or_skip, secret};
use crate::support::daemon::eventually;
use crate::support::postgres::{certificates, free_port};

/// Takes mail for example.com, from who signs in as palisade; writes each into a file. Prints what its
/// e-mail library reads out of each, so that what is tested is not how we parse it.
const SERVER: &str = r#"
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
directory, port, manner = sys.argv[1], int(sys.argv[2]), sys.argv[3]
count = 0
class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if not address.endswith('@example.com'):
            return '550 5.1.1 nobody of that name'
        envelope.rcpt_tos.append(address)
        return '250 OK'
    async def handle_DATA(self, server, session, envelope):
        global count
        count += 1
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
        told = {'headers': [[k, str(v)] for k, v in mail.items()], 'parts': parts, 'to': envelope.rcpt_tos,
                'tls': session.ssl is not None, 'user': session.auth_data and session.auth_data.login.decode()}
        with open(f'{directory}/mail-{count}.tmp', 'w') as file:
            json.dump(told, file)
        import os
        os.rename(f'{directory}/mail-{count}.tmp', f'{directory}/mail-{count}.json')
        return '250 taken'
def check(server, session, envelope, mechanism, data):
    return AuthResult(success=data.password == b's3cret', handled=False, auth_data=data)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(directory + '/server.pem', directory + '/server.key')
def session():
    if manner == 'plain':
        return SMTP(Handler())
    return SMTP(Handler(), tls_context=context, require_starttls=True, authenticator=check, auth_required=True)
async def main():
    server = await asyncio.get_running_loop().create_server(session, '127.0.0.1', port)
    async with server:
        await server.serve_forever()
asyncio.run(main())
"#;

pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Server {
    pub fn start(manner: &str) -> Server {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        certificates(dir.path(), "DNS:localhost");
        fs::write(dir.path().join("server.py"), SERVER).unwrap();
        let child = Command::new("/usr/bin/python3")
            .arg(dir.path().join("server.py"))
            .args([dir.path().to_str().unwrap(), &port.to_string(), manner])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let server = Server { child, dir, port };
        eventually("the mail server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }

    pub fn config(&self) -> AlertConfig {
        AlertConfig {
            key: secret("s3cret"),
            user: "palisade".into(),
            from: "Palisade <palisade@example.com>".into(),
            to: vec!["ops@example.com".into(), "Night Watch <night@example.com>".into()],
            ca_file: Some(self.dir.path().join("ca.pem")),
            timeout_secs: 10,
            ..alert("email", &format!("smtp://localhost:{}", self.port))
        }
    }

    pub fn mail(&self, number: u32) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.dir.path().join(format!("mail-{number}.json"))).unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn send(config: &AlertConfig, message: &Message) -> Result<(), Failure> {
    open(config).unwrap().deliver(message).await.map(drop)
}

#[tokio::test]
async fn a_mail_server_takes_text_and_html_by_starttls_and_no_header_is_forged() {
    if !real_servers_or_skip("the test with a real mail server") {
        return;
    }
    let server = Server::start("starttls");
    let forged = Message { title: "web-1: é \u{1f480} x\r\nBcc: evil@example.com\r\n\r\nbody".into(), ..message() };
    send(&server.config(), &forged).await.unwrap();
    let mail = server.mail(1);
    assert_eq!((&mail["tls"], &mail["user"]), (&true.into(), &"palisade".into()));
    assert_eq!(mail["to"], serde_json::json!(["ops@example.com", "night@example.com"]), "and nobody else");
    let headers: Vec<(String, String)> = serde_json::from_value(mail["headers"].clone()).unwrap();
    let of = |name: &str| {
        let values = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(of("Bcc"), "");
    assert!(of("Subject").starts_with("web-1: é \u{1f480} x"), "{}", of("Subject"));
    assert_eq!(
        (of("Auto-Submitted"), of("Message-ID")),
        ("auto-generated".into(), "<0123456789abcdef@example.com>".into())
    );
    let part = |name: &str| mail["parts"][name].as_str().unwrap().replace("\r\n", "\n");
    assert!(
        part("text/plain").starts_with(HOSTILE) && part("text/plain").contains("/case/c1"),
        "{}",
        part("text/plain")
    );
    let html = part("text/html");
    assert!(
        html.contains("&lt;!channel&gt;") && html.contains("&lt;b&gt;&amp;amp;") && !html.contains("<b>"),
        "{html}"
    );
    assert!(html.contains("<a href=\"https://palisade.example.com/case/c1\">"), "{html}");
}

#[tokio::test]
async fn a_mail_server_that_is_wrong_gets_nothing() {
    if !real_servers_or_skip("the test with a real mail server that is wrong") {
        return;
    }
    let server = Server::start("starttls");
    let good = server.config();
    let other = AlertConfig { ca_file: Some(server.dir.path().join("other.pem")), ..good.clone() };
    let failure = send(&other, &message()).await.unwrap_err();
    assert!(!failure.is_final && failure.why.to_lowercase().contains("certificate"), "{failure:?}");
    let stranger = AlertConfig { key: secret("guessed"), ..good.clone() };
    assert!(send(&stranger, &message()).await.unwrap_err().is_final, "a wrong password stays wrong");
    let elsewhere = AlertConfig { to: vec!["x@example.net".into()], ..good };
    let failure = send(&elsewhere, &message()).await.unwrap_err();
    assert!(failure.is_final && failure.why.contains("nobody of that name"), "{failure:?}");
    let plain = Server::start("plain");
    let failure = send(&plain.config(), &message()).await.unwrap_err();
    assert!(!is_there(&plain, 1) && failure.why.to_lowercase().contains("starttls"), "{failure:?}");
    let here = AlertConfig {
        url: secret(format!("smtp+plain://127.0.0.1:{}", plain.port)),
        user: String::new(),
        ..plain.config()
    };
    send(&here, &message()).await.unwrap();
    assert!(is_there(&plain, 1));
    let far = AlertConfig { url: secret("smtp+plain://mail.example.com"), ..here };
    assert!(open(&far).is_err_and(|why| why.contains("this host alone")));
}

fn is_there(server: &Server, number: u32) -> bool {
    Path::exists(&server.dir.path().join(format!("mail-{number}.json")))
}
