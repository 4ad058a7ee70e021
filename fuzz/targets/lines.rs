//! Every format and envelope on any bytes, and what is learned from them as a file's head.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade::event::Timestamp;
use palisade::parse::{Context, Extent, Formats, KINDS, Site};

fuzz_target!(|data: &[u8]| {
    let (arena, site) = (bumpalo::Bump::new(), Site::default());
    let read_at = Timestamp(1_795_305_600_000);
    for extent in [Extent::Whole, Extent::Head] {
        let context = Context { extent, arena: &arena, program: b"", site: &site, read_at };
        for line in data.split(|&byte| byte == b'\n') {
            for kind in KINDS {
                let _ = kind.build.parse(line, &context);
            }
        }
        let formats = Formats::learn("x", data.split(|&byte| byte == b'\n'), &context);
        assert_eq!(Formats::of_names(&formats.names()).names(), formats.names(), "names lead back to their formats");
        for line in data.split(|&byte| byte == b'\n') {
            let _ = formats.parse(line, &context);
        }
    }
});
