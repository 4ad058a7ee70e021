//! Any text as nginx.conf or httpd.conf, which may include itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade::parse::server_config::{File, ServerConfig};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let found = read(&text);
    let lines = text.lines().count() as u32 + 1;
    for log in &found.logs {
        assert!(log.path.starts_with('/'), "paths are absolute");
        assert!((1..=lines).contains(&log.place.line), "places are in the file");
    }
    // A blank line in front moves places down and changes nothing else.
    let moved = read(&format!("\n{text}"));
    let told = |config: &ServerConfig, by: u32| -> Vec<_> {
        let logs = config.logs.iter();
        logs.map(|log| (log.path.clone(), log.format.clone(), log.place.file.clone(), log.place.line + by)).collect()
    };
    assert_eq!(told(&found, 1), told(&moved, 0));
    assert_eq!(found.left_out.len(), moved.left_out.len());
});

fn read(text: &str) -> ServerConfig {
    let mut read = |pattern: &str| vec![File { path: pattern.to_owned(), text: Ok(text.to_owned()) }];
    ServerConfig::read("/etc/nginx/nginx.conf", &mut read)
}
