//! E-mail: text and HTML, through a mail server by STARTTLS or TLS; without either on this host alone.

use std::net::IpAddr;
use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use reqwest::Url;

use super::{Channel, Delivery, Given};
use crate::event::printable;
use crate::notify::{Failure, Message};

/// Of a mail server's words.
const SHOWN_BYTES: usize = 300;

pub struct Email {
    server: AsyncSmtpTransport<Tokio1Executor>,
    /// For all of a delivery: the server's own deadline is for one command.
    deadline: Duration,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// # Errors
/// A sentence: it is no e-mail address.
pub(in crate::notify) fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("{text:?} is no e-mail address such as \"ops@example.com\""))
}

impl Email {
    pub fn new(given: Given<'_>) -> Result<Email, String> {
        let wrong = |why: &str| format!("`url`: {why}; write smtp://HOST:587 (STARTTLS) or smtps://HOST:465");
        let url = Url::parse(given.url.reveal()).map_err(|error| wrong(&error.to_string()))?;
        let host = url.host_str().ok_or_else(|| wrong("no host"))?.trim_matches(['[', ']']).to_owned();
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let (tls, port) = match url.scheme() {
            "smtp" => (Tls::Required(encryption(&given, &host)?), 587),
            "smtps" => (Tls::Wrapper(encryption(&given, &host)?), 465),
            "smtp+plain" if is_here => (Tls::None, 25),
            "smtp+plain" => return Err(wrong("mail goes unencrypted to this host alone")),
            _ => return Err(wrong("no mail server")),
        };
        let deadline = given.deadline();
        let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(url.port().unwrap_or(port))
            .timeout(Some(deadline))
            .tls(tls);
        if !given.config.user.is_empty() {
            let password = given.key.reveal().to_owned();
            server = server.credentials(Credentials::new(given.config.user.clone(), password));
        }
        Ok(Email {
            server: server.build(),
            deadline: deadline * 3,
            from: mailbox(&given.config.from)?,
            to: given.config.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?,
        })
    }

    fn letter(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            // A reader would take it for an encoded word and show something else.
            .subject(message.title.replace("=?", "= ?"))
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            // So that nobody's holiday answers it.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        if message.severity >= crate::event::Severity::High {
            letter = letter.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Priority"), "1".to_owned()));
        }
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        let link = message.url.as_ref().map(|url| format!("\n\n{url}\n")).unwrap_or_default();
        letter.multipart(MultiPart::alternative_plain_html(format!("{}{link}", message.text), html(message)))
    }
}

fn encryption(given: &Given<'_>, host: &str) -> Result<TlsParameters, String> {
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(file) = &given.config.ca_file {
        let wrong = |why: String| format!("`ca_file`: {}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
        tls = tls.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    tls.build_rustls().map_err(|error| format!("cannot speak TLS: {error}"))
}

fn html(message: &Message) -> String {
    let link = match &message.url {
        Some(url) => format!("<p><a href=\"{0}\">{0}</a></p>", escaped(url)),
        None => String::new(),
    };
    format!(
        "<!doctype html><html><body><h3>{}</h3><pre style=\"white-space:pre-wrap\">{}</pre>{link}</body></html>",
        escaped(&message.title),
        escaped(&message.text)
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

impl Channel for Email {
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a> {
        Box::pin(async move {
            let told = |error: &dyn std::error::Error| {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                printable(format!("{error}{cause}").as_bytes(), SHOWN_BYTES)
            };
            let letter = self.letter(message).map_err(|error| Failure::last(told(&error)))?;
            match tokio::time::timeout(self.deadline, self.server.send(letter)).await {
                Ok(Ok(_)) => Ok(None),
                Ok(Err(error)) => Err(Failure { why: told(&error), retry_after: None, is_final: error.is_permanent() }),
                Err(_) => Err(Failure::passing("no answer in time")),
            }
        })
    }
}
