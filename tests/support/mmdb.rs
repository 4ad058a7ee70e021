//! A database of countries, in MaxMind's format.

/// A database in which every IPv4 address is in this country and network.
pub fn database(country: &str, asn: u32) -> Vec<u8> {
    let text = |text: &str| [&[0x40 | text.len() as u8], text.as_bytes()].concat();
    let number = |value: u32| [&[0xc4], &value.to_be_bytes()[..]].concat();
    let short = |value: u16| [&[0xa2], &value.to_be_bytes()[..]].concat();
    let data = [
        vec![0xe2],
        [text("country"), vec![0xe1], text("iso_code"), text(country)].concat(),
        [text("autonomous_system_number"), number(asn)].concat(),
    ];
    // One node, both sides of which lead to the data: its number is beyond the nodes and a gap of 16.
    let record = &(1u32 + 16).to_be_bytes()[1..];
    let head = [
        vec![0xe9],
        [text("binary_format_major_version"), short(2)].concat(),
        [text("binary_format_minor_version"), short(0)].concat(),
        [text("build_epoch"), vec![4, 2, 0, 0, 0, 1]].concat(),
        [text("database_type"), text("Test")].concat(),
        [text("description"), vec![0xe0]].concat(),
        [text("ip_version"), short(4)].concat(),
        [text("languages"), vec![0, 4]].concat(),
        [text("node_count"), number(1)].concat(),
        [text("record_size"), short(24)].concat(),
    ];
    let marker = b"\xab\xcd\xefMaxMind.com";
    [&[record, record].concat()[..], &[0; 16], &data.concat(), marker, &head.concat()].concat()
}
