//! Any string as a format, and any line read by it: the input is cut at its first newline.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade::event::Timestamp;
use palisade::parse::{Context, Extent, LogFormat, Site, compile};

fuzz_target!(|data: &[u8]| {
    let cut = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let Ok(string) = std::str::from_utf8(&data[..cut]) else { return };
    let Ok(format) = compile(string) else { return };
    let (arena, site) = (bumpalo::Bump::new(), Site::default());
    for extent in [Extent::Whole, Extent::Head] {
        let context = Context { extent, arena: &arena, program: b"", site: &site, read_at: Timestamp(0) };
        let _ = format.parse(data.get(cut + 1..).unwrap_or_default(), &context);
    }
});
