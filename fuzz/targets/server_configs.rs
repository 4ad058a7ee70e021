//! Any text as nginx.conf or httpd.conf, which may include itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade::parse::server_config::{File, ServerConfig};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    let mut read = |pattern: &str| vec![File { path: pattern.to_owned(), text: Ok(text.clone()) }];
    let found = ServerConfig::read("/etc/nginx/nginx.conf", &mut read);
    assert!(found.logs.iter().all(|log| log.path.starts_with('/')), "paths are absolute");
});
