//! Text as glyphs of the fonts at hand, broken into lines.

use std::path::Path;

use anyhow::Context;

use super::font::Font;

/// DejaVu, cut down to Latin, Greek, Cyrillic and some signs; `fonts/LICENSE`.
const REGULAR: &[u8] = include_bytes!("fonts/DejaVuSans.ttf");
const BOLD: &[u8] = include_bytes!("fonts/DejaVuSans-Bold.ttf");
const MONO: &[u8] = include_bytes!("fonts/DejaVuSansMono.ttf");

/// Which of the fonts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    Regular,
    Bold,
    Mono,
    /// The one of the configuration, for what the others do not have.
    Other,
}

/// A letter as one glyph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letter {
    pub face: Face,
    pub glyph: u16,
    /// Of the font's size.
    pub advance: f32,
    pub c: char,
    pub colour: u32,
}

/// The fonts of a document.
pub struct Fonts {
    regular: Font,
    bold: Font,
    mono: Font,
    other: Option<Font>,
}

impl Fonts {
    /// # Errors
    /// `other` cannot be read, or is no font.
    pub fn load(other: Option<&Path>) -> anyhow::Result<Fonts> {
        let own = |bytes: &[u8]| Font::read(bytes.into()).context("a font of this program cannot be read");
        let other = other.map(|path| {
            let bytes = std::fs::read(path).with_context(|| format!("report.font: {}", path.display()))?;
            let name = || format!("report.font: {} is no TrueType or OpenType font", path.display());
            Font::read(bytes).with_context(name)
        });
        Ok(Fonts { regular: own(REGULAR)?, bold: own(BOLD)?, mono: own(MONO)?, other: other.transpose()? })
    }

    /// The font that `face` stands for.
    pub fn font(&self, face: Face) -> &Font {
        match face {
            Face::Other => self.other.as_ref().unwrap_or(&self.regular),
            own => self.own(own),
        }
    }

    fn own(&self, face: Face) -> &Font {
        match face {
            Face::Bold => &self.bold,
            Face::Mono => &self.mono,
            Face::Regular | Face::Other => &self.regular,
        }
    }

    /// `text` as glyphs: a letter that no font has as `\u{…}`, never as a box.
    pub fn letters(&self, text: &str, face: Face, colour: u32) -> Vec<Letter> {
        let mut out = vec![];
        for c in text.chars() {
            let c = if c.is_whitespace() { ' ' } else { c };
            let mut put = |face: Face, font: &Font, c: char| {
                let found = font.glyphs.get(&c);
                out.extend(found.map(|(glyph, advance)| Letter { face, glyph: *glyph, advance: *advance, c, colour }));
                found.is_some()
            };
            let is_there =
                put(face, self.own(face), c) || self.other.as_ref().is_some_and(|font| put(Face::Other, font, c));
            if !is_there {
                c.escape_unicode().for_each(|c| {
                    put(face, self.own(face), c);
                });
            }
        }
        out
    }
}

/// How wide `letters` are at `size`.
pub fn width(letters: &[Letter], size: f32) -> f32 {
    letters.iter().map(|letter| letter.advance).sum::<f32>() * size
}

/// `letters` in lines of at most `limit` points: broken at spaces, and where a word alone is wider, within it.
pub fn lines(letters: &[Letter], size: f32, limit: f32) -> Vec<&[Letter]> {
    let mut lines = vec![];
    let mut start = 0;
    // Where the line may be broken: behind the last space.
    let mut gap = None;
    let mut wide = 0.0;
    let mut at = 0;
    while at < letters.len() {
        let letter = &letters[at];
        wide += letter.advance * size;
        if wide > limit && at > start && letter.c != ' ' {
            let end = gap.unwrap_or(at);
            lines.push(trimmed(&letters[start..end]));
            (start, gap, wide, at) = (end, None, 0.0, end);
            continue;
        }
        at += 1;
        if letter.c == ' ' {
            gap = Some(at);
        }
    }
    if start < letters.len() {
        lines.push(trimmed(&letters[start..]));
    }
    lines
}

fn trimmed(line: &[Letter]) -> &[Letter] {
    let end = line.iter().rposition(|letter| letter.c != ' ').map_or(0, |last| last + 1);
    &line[..end]
}
