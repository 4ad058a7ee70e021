//! What is asked of a TrueType or OpenType font: which glyph draws a letter, how wide it is, and the part of the
//! font that a document needs. An operator's font may be anything: what is not where it should be is not there.

use std::collections::HashMap;

use anyhow::Context;
use subsetter::GlyphRemapper;

/// A font as PDF wants to know it; lengths in thousandths of its size.
pub struct Font {
    bytes: Vec<u8>,
    pub name: String,
    /// Left, lower, right and upper edge of all glyphs together.
    pub bounds: [f32; 4],
    pub ascent: f32,
    pub descent: f32,
    /// The number of each letter's glyph, and how wide it is, as a part of the font's size.
    pub glyphs: HashMap<char, (u16, f32)>,
}

/// What goes into a document.
pub enum Embedded {
    TrueType(Vec<u8>),
    /// The outlines of an OpenType font alone.
    Cff(Vec<u8>),
}

impl Font {
    /// The font in a file, of a collection the first; none if it is no font.
    pub fn read(bytes: Vec<u8>) -> Option<Font> {
        let (head, hhea, hmtx) = (table(&bytes, b"head")?, table(&bytes, b"hhea")?, table(&bytes, b"hmtx")?);
        let units = f32::from(u16_at(head, 18)?.max(1));
        let thousandths = |table, at| Some(f32::from(u16_at(table, at)?.cast_signed()) * 1000.0 / units);
        let last_width = u16_at(hhea, 34)?.checked_sub(1)?;
        let wide = |glyph: u16| Some(f32::from(u16_at(hmtx, 4 * usize::from(glyph.min(last_width)))?) / units);
        // A font that draws nothing for a letter has no letter.
        let drawn = letters(table(&bytes, b"cmap")?)?.into_iter().filter(|(_, glyph)| *glyph != 0);
        let glyphs = drawn.filter_map(|(c, glyph)| Some((c, (glyph, wide(glyph)?)))).collect();
        Some(Font {
            name: name(&bytes).unwrap_or_else(|| "Font".into()),
            bounds: [thousandths(head, 36)?, thousandths(head, 38)?, thousandths(head, 40)?, thousandths(head, 42)?],
            ascent: thousandths(hhea, 4)?,
            descent: thousandths(hhea, 6)?,
            glyphs,
            bytes,
        })
    }

    /// The part of the font that has these glyphs.
    pub fn part(&self, glyphs: &GlyphRemapper) -> anyhow::Result<Embedded> {
        let cannot =
            || format!("the font {} cannot be put into a document; name another one as report.font", self.name);
        let part = subsetter::subset(&self.bytes, 0, glyphs).with_context(cannot)?;
        Ok(match table(&part, b"CFF ") {
            Some(outlines) => Embedded::Cff(outlines.to_vec()),
            None => Embedded::TrueType(part),
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn offset_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

fn table<'a>(bytes: &'a [u8], tag: &[u8; 4]) -> Option<&'a [u8]> {
    let start = if bytes.starts_with(b"ttcf") { offset_at(bytes, 12)? } else { 0 };
    let count = usize::from(u16_at(bytes, start.checked_add(4)?)?);
    let mut rows = bytes.get(start + 12..)?.chunks_exact(16).take(count);
    let row = rows.find(|row| row.starts_with(tag))?;
    bytes.get(offset_at(row, 8)?..)?.get(..offset_at(row, 12)?)
}

/// The name by which programs know the font.
fn name(bytes: &[u8]) -> Option<String> {
    const POSTSCRIPT: u16 = 6;
    let names = table(bytes, b"name")?;
    let texts = names.get(usize::from(u16_at(names, 4)?)..)?;
    let row = names.get(6..)?.chunks_exact(12).take(usize::from(u16_at(names, 2)?));
    let row = row.into_iter().find(|row| u16_at(row, 6) == Some(POSTSCRIPT))?;
    let text = texts.get(usize::from(u16_at(row, 10)?)..)?.get(..usize::from(u16_at(row, 8)?))?;
    // Of two bytes a letter the first is 0.
    let letters = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte == b'-');
    Some(letters.take(63).map(|byte| char::from(*byte)).collect())
}

/// Letters and their glyphs, of the table that has most of Unicode.
fn letters(cmap: &[u8]) -> Option<Vec<(char, u16)>> {
    // A table that says more than there can be is not taken at its word.
    const MOST: usize = 0x11_0000;
    let rows = cmap.get(4..)?.chunks_exact(8).take(usize::from(u16_at(cmap, 2)?));
    let tables = rows.filter(|row| matches!((u16_at(row, 0), u16_at(row, 2)), (Some(0), _) | (Some(3), Some(1 | 10))));
    let mut tables: Vec<&[u8]> = tables.filter_map(|row| cmap.get(offset_at(row, 4)?..)).collect();
    tables.sort_by_key(|table| u16_at(table, 0) != Some(12));
    tables.into_iter().find_map(|table| match u16_at(table, 0)? {
        12 => Some(groups(table).take(MOST).collect()),
        4 => Some(segments(table)?.take(MOST).collect()),
        _ => None,
    })
}

/// Format 12: from one letter to another, glyphs in order.
fn groups(table: &[u8]) -> impl Iterator<Item = (char, u16)> {
    let rows = table.get(16..).unwrap_or_default().chunks_exact(12);
    let count = offset_at(table, 12).unwrap_or(0);
    let group = |row| {
        let (first, last, glyph) = (u32_at(row, 0)?, u32_at(row, 4)?, u32_at(row, 8)?);
        Some((first..=last).zip(glyph..))
    };
    let pairs = rows.take(count).filter_map(group).flatten();
    pairs.filter_map(|(c, glyph)| Some((char::from_u32(c)?, u16::try_from(glyph).ok()?)))
}

/// Format 4: the same for two bytes, by a difference or by a list of glyphs.
fn segments(table: &[u8]) -> Option<impl Iterator<Item = (char, u16)>> {
    let length = usize::from(u16_at(table, 6)?);
    let segment = move |at: usize| {
        let [last, first, difference, list] =
            [14, 16 + length, 16 + 2 * length, 16 + 3 * length].map(|start| u16_at(table, start + at));
        let (last, first, difference, list) = (last?, first?, difference?, usize::from(list?));
        let glyph = move |c: u16| {
            if list == 0 {
                return Some(c.wrapping_add(difference));
            }
            // Counted from where the list's place stands.
            let found = u16_at(table, 16 + 3 * length + at + list + 2 * usize::from(c - first))?;
            Some(if found == 0 { 0 } else { found.wrapping_add(difference) })
        };
        Some((first..=last).filter_map(move |c| Some((char::from_u32(c.into())?, glyph(c)?))))
    };
    Some((0..length).step_by(2).filter_map(segment).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SANS: &[u8] = include_bytes!("fonts/DejaVuSans.ttf");

    #[test]
    fn letters_have_their_glyphs_and_widths() {
        let font = Font::read(SANS.to_vec()).unwrap();
        assert_eq!(font.name, "DejaVuSans");
        let wide = |c| font.glyphs[&c].1;
        assert!((wide('i') - 0.278).abs() < 0.001 && (wide('W') - 0.989).abs() < 0.001, "{} {}", wide('i'), wide('W'));
        assert!(font.glyphs.contains_key(&'Ж') && !font.glyphs.contains_key(&'語'));
        assert!(font.ascent > 700.0 && font.descent < -100.0, "{} {}", font.ascent, font.descent);
    }

    #[test]
    fn a_part_is_smaller_and_has_no_table_of_letters() {
        let font = Font::read(SANS.to_vec()).unwrap();
        let Embedded::TrueType(part) = font.part(&GlyphRemapper::new_from_glyphs(&[font.glyphs[&'a'].0])).unwrap()
        else {
            panic!("DejaVu is TrueType");
        };
        assert!(part.len() < SANS.len() / 10 && table(&part, b"glyf").is_some() && table(&part, b"cmap").is_none());
    }

    #[test]
    fn both_kinds_of_tables_of_letters_are_read_and_a_list_of_glyphs_too() {
        // A to C as a list of glyphs 7, 0 (none), 9; a to b by a difference; the end.
        let words = [4, 0, 0, 6, 0, 0, 0, 0x43, 0x62, 0xFFFF, 0, 0x41, 0x61, 0xFFFF];
        let rest = [0, 0u16.wrapping_sub(0x60), 1, 6, 0, 0, 7, 0, 9];
        let bytes: Vec<u8> = words.into_iter().chain(rest).flat_map(u16::to_be_bytes).collect();
        let found: Vec<_> = segments(&bytes).unwrap().collect();
        assert_eq!(found, [('A', 7), ('B', 0), ('C', 9), ('a', 1), ('b', 2), ('\u{ffff}', 0)]);
        let longs = [12 << 16, 0, 0, 1, 0x1_F600, 0x1_F602, 5];
        let bytes: Vec<u8> = longs.into_iter().flat_map(u32::to_be_bytes).collect();
        assert_eq!(groups(&bytes).collect::<Vec<_>>(), [('\u{1f600}', 5), ('\u{1f601}', 6), ('\u{1f602}', 7)]);
    }

    #[test]
    fn what_is_no_font_or_half_of_one_is_none_and_no_panic() {
        for end in (0..SANS.len()).step_by(97) {
            let half = Font::read(SANS[..end].to_vec());
            // What has all tables that are looked at may lack outlines.
            if let Some(font) = half {
                let _ = font.part(&GlyphRemapper::new_from_glyphs(&[3, 40]));
            }
        }
        for at in (0..2000).step_by(3) {
            let mut broken = SANS.to_vec();
            broken[at] ^= 0xFF;
            if let Some(font) = Font::read(broken) {
                let _ = font.part(&GlyphRemapper::new_from_glyphs(&[3, 40]));
            }
        }
    }
}
