//! Pages, fonts and an outline as the bytes of a PDF.

use std::io::Write as _;

use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Date, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use subsetter::GlyphRemapper;

use super::flow::{HEIGHT, Mark, WIDTH};
use super::font::{Embedded, Font};
use super::letters::{Face, Fonts, Letter, width};
use crate::event::Timestamp;

/// What is known of a document besides its pages.
pub struct About {
    pub title: String,
    pub id: String,
    pub time: Timestamp,
}

/// A line of the outline: its text, the page's number and how far down it leads.
pub type Heading = (String, usize, f32);

/// Names of the fonts on each page, in the order of [`Face`].
const NAMES: [Name<'static>; 4] = [Name(b"F0"), Name(b"F1"), Name(b"F2"), Name(b"F3")];
const ORDER: [Face; 4] = [Face::Regular, Face::Bold, Face::Mono, Face::Other];
const SYSTEM: SystemInfo<'static> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// The whole document.
///
/// # Errors
/// A font has no part that can be embedded.
pub fn write(about: &About, fonts: &Fonts, pages: &[Vec<Mark>], headings: Vec<Heading>) -> anyhow::Result<Vec<u8>> {
    let mut pdf = Pdf::new();
    pdf.set_file_id((about.id.clone().into_bytes(), about.id.clone().into_bytes()));
    let mut free = Ref::new(1);
    let (catalog, tree, outline, info) = (free.bump(), free.bump(), free.bump(), free.bump());
    let font_ids = ORDER.map(|_| free.bump());
    let page_ids: Vec<Ref> = pages.iter().map(|_| free.bump()).collect();

    let mut used: [Used; 4] = Default::default();
    let mut drawn = vec![];
    for marks in pages {
        let mut content = Content::new();
        marks.iter().for_each(|mark| draw(&mut content, &mut used, mark));
        drawn.push(packed(&content.finish())?);
    }
    let in_use: Vec<usize> = (0..ORDER.len()).filter(|at| !used[*at].letters.is_empty()).collect();
    for (content, id) in drawn.iter().zip(&page_ids) {
        let text = free.bump();
        pdf.stream(text, content).filter(Filter::FlateDecode);
        let mut page = pdf.page(*id);
        page.parent(tree).media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).contents(text);
        let mut resources = page.resources();
        let mut names = resources.fonts();
        in_use.iter().for_each(|at| {
            names.pair(NAMES[*at], font_ids[*at]);
        });
    }
    pdf.pages(tree).count(i32::try_from(page_ids.len())?).kids(page_ids.iter().copied());
    for at in in_use {
        embed(&mut pdf, &mut free, font_ids[at], ORDER[at], fonts.font(ORDER[at]), &used[at])?;
    }
    write_outline(&mut pdf, &mut free, outline, &page_ids, headings)?;
    pdf.document_info(info).title(TextStr(&about.title)).creator(TextStr("Palisade")).creation_date(date(about.time));
    pdf.catalog(catalog).pages(tree).outlines(outline).lang(TextStr("en"));
    Ok(pdf.finish())
}

/// What of a font is drawn: glyphs, and in the order of their new numbers, from 1, what they stand for.
#[derive(Default)]
struct Used {
    glyphs: GlyphRemapper,
    letters: Vec<(char, f32)>,
}

impl Used {
    fn number(&mut self, letter: &Letter) -> u16 {
        let number = self.glyphs.remap(letter.glyph);
        if usize::from(number) > self.letters.len() {
            self.letters.push((letter.c, letter.advance));
        }
        number
    }
}

fn draw(content: &mut Content, used: &mut [Used; 4], mark: &Mark) {
    match mark {
        Mark::Area { x, y, wide, high, round, colour } => {
            fill(content, *colour);
            area(content, *x, HEIGHT - y - high, *wide, *high, round.min(wide / 2.0).min(high / 2.0));
            content.fill_nonzero();
        }
        Mark::Text { x, y, size, letters } => {
            let mut x = *x;
            content.begin_text();
            // Letters of one font and colour at once.
            for run in letters.chunk_by(|a, b| a.face == b.face && a.colour == b.colour) {
                let Some(Letter { face, colour, .. }) = run.first() else { continue };
                let at = *face as usize;
                let numbers: Vec<u8> = run.iter().flat_map(|letter| used[at].number(letter).to_be_bytes()).collect();
                fill(content, *colour);
                content.set_font(NAMES[at], *size);
                content.set_text_matrix([1.0, 0.0, 0.0, 1.0, x, HEIGHT - y]);
                content.show(Str(&numbers));
                x += width(run, *size);
            }
            content.end_text();
        }
    }
}

fn fill(content: &mut Content, colour: u32) {
    let [_, red, green, blue] = colour.to_be_bytes().map(|part| f32::from(part) / 255.0);
    content.set_fill_rgb(red, green, blue);
}

/// A box with round corners; `y` is its lower edge, from below.
fn area(content: &mut Content, x: f32, y: f32, wide: f32, high: f32, round: f32) {
    if round <= 0.0 {
        content.rect(x, y, wide, high);
        return;
    }
    let (right, top) = (x + wide, y + high);
    // How far a curve's handles are from the corner for it to be nearly a quarter of a circle.
    let near = round * 0.448;
    content.move_to(x + round, y).line_to(right - round, y);
    content.cubic_to(right - near, y, right, y + near, right, y + round).line_to(right, top - round);
    content.cubic_to(right, top - near, right - near, top, right - round, top).line_to(x + round, top);
    content.cubic_to(x + near, top, x, top - near, x, top - round).line_to(x, y + round);
    content.cubic_to(x, y + near, x + near, y, x + round, y).close_path();
}

/// Puts the used part of a font into the document, with what its glyphs mean for who searches or copies.
fn embed(pdf: &mut Pdf, free: &mut Ref, id: Ref, face: Face, font: &Font, used: &Used) -> anyhow::Result<()> {
    let (glyphs, descriptor, meaning, file) = (free.bump(), free.bump(), free.bump(), free.bump());
    // Six letters in front say that it is a part of the font; different parts have different ones.
    let name = format!("PALIS{}+{}", ['A', 'B', 'C', 'D'][face as usize], font.name);
    let name = Name(name.as_bytes());
    let mut composite = pdf.type0_font(id);
    composite.base_font(name).encoding_predefined(Name(b"Identity-H")).descendant_font(glyphs).to_unicode(meaning);
    composite.finish();

    let part = font.part(&used.glyphs)?;
    let is_true_type = matches!(part, Embedded::TrueType(_));
    let mut cid = pdf.cid_font(glyphs);
    cid.subtype(if is_true_type { CidFontType::Type2 } else { CidFontType::Type0 });
    cid.base_font(name).system_info(SYSTEM).font_descriptor(descriptor).default_width(0.0);
    if is_true_type {
        cid.cid_to_gid_map_predefined(Name(b"Identity"));
    }
    cid.widths().consecutive(1, used.letters.iter().map(|(_, advance)| advance * 1000.0));
    cid.finish();

    let mut about = pdf.font_descriptor(descriptor);
    let [left, lower, right, upper] = font.bounds;
    about.name(name).flags(FontFlags::SYMBOLIC).bbox(Rect::new(left, lower, right, upper)).italic_angle(0.0);
    about.ascent(font.ascent).descent(font.descent).cap_height(font.ascent).stem_v(80.0);
    if is_true_type {
        about.font_file2(file)
    } else {
        about.font_file3(file)
    };
    about.finish();

    let mut map = UnicodeCmap::new(Name(b"Letters"), SYSTEM);
    (1u16..).zip(&used.letters).for_each(|(number, (c, _))| map.pair(number, *c));
    pdf.cmap(meaning, &packed(&map.finish())?).filter(Filter::FlateDecode);
    let (Embedded::TrueType(bytes) | Embedded::Cff(bytes)) = &part;
    let bytes_packed = packed(bytes)?;
    let mut stream = pdf.stream(file, &bytes_packed);
    stream.filter(Filter::FlateDecode);
    if is_true_type {
        stream.pair(Name(b"Length1"), i32::try_from(bytes.len())?);
    } else {
        stream.pair(Name(b"Subtype"), Name(b"CIDFontType0C"));
    }
    Ok(())
}

fn write_outline(
    pdf: &mut Pdf,
    free: &mut Ref,
    outline: Ref,
    pages: &[Ref],
    headings: Vec<Heading>,
) -> anyhow::Result<()> {
    let items: Vec<Ref> = headings.iter().map(|_| free.bump()).collect();
    let mut root = pdf.outline(outline);
    if let (Some(first), Some(last)) = (items.first(), items.last()) {
        root.first(*first).last(*last).count(i32::try_from(items.len())?);
    }
    root.finish();
    for (at, (text, page, y)) in headings.into_iter().enumerate() {
        let mut item = pdf.outline_item(items[at]);
        item.title(TextStr(&text)).parent(outline);
        if let Some(before) = at.checked_sub(1) {
            item.prev(items[before]);
        }
        if let Some(next) = items.get(at + 1) {
            item.next(*next);
        }
        if let Some(page) = pages.get(page) {
            item.dest().page(*page).xyz(0.0, HEIGHT - y, None);
        }
    }
    Ok(())
}

fn date(time: Timestamp) -> Date {
    let (year, month, day) = Timestamp::civil_from_days(time.secs().div_euclid(86_400));
    let second = time.secs().rem_euclid(86_400);
    let part = |value: i64| u8::try_from(value).unwrap_or(0);
    let date = Date::new(u16::try_from(year).unwrap_or(0));
    let date = date.month(u8::try_from(month).unwrap_or(1)).day(u8::try_from(day).unwrap_or(1));
    date.hour(part(second / 3600)).minute(part(second / 60 % 60)).second(part(second % 60)).utc_offset_hour(0)
}

fn packed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::default());
    out.write_all(bytes)?;
    out.finish()
}
