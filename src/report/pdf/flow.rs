//! Text and boxes that flow over pages.

use super::letters::{Face, Fonts, Letter, lines, width};
use super::paper::{self, About, Heading};

/// A4, in points.
pub const WIDTH: f32 = 595.276;
pub const HEIGHT: f32 = 841.89;
/// Room at the sides, and where text ends and the foot begins.
pub const MARGIN: f32 = 46.0;
const TOP: f32 = 46.0;
const BOTTOM: f32 = HEIGHT - 52.0;
/// Between the margins.
pub const INNER: f32 = WIDTH - 2.0 * MARGIN;

pub const INK: u32 = 0x1D_27_33;
pub const SOFT: u32 = 0x5B_6B_7B;
pub const RULE: u32 = 0xD6_DD_E5;
pub const BOX: u32 = 0xF4_F6_F8;
pub const WHITE: u32 = 0xFF_FF_FF;

/// How text is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    pub face: Face,
    pub size: f32,
    pub colour: u32,
}

pub const BODY: Style = Style { face: Face::Regular, size: 9.5, colour: INK };
pub const SMALL: Style = Style { face: Face::Regular, size: 8.0, colour: SOFT };
pub const STRONG: Style = Style { face: Face::Bold, size: 9.5, colour: INK };
pub const CODE: Style = Style { face: Face::Mono, size: 7.2, colour: INK };

impl Style {
    pub fn size(self, size: f32) -> Style {
        Style { size, ..self }
    }

    pub fn colour(self, colour: u32) -> Style {
        Style { colour, ..self }
    }

    /// From one base line to the next.
    pub fn leading(self) -> f32 {
        self.size * 1.42
    }
}

/// How many pages there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    Many,
    /// What does not fit on the page is not drawn.
    One,
}

/// Something that is drawn; `x` and `y` count from the upper left corner.
pub enum Mark {
    /// Letters whose base line is at `y`.
    Text { x: f32, y: f32, size: f32, letters: Vec<Letter> },
    /// A box whose upper edge is at `y`, with round corners.
    Area { x: f32, y: f32, wide: f32, high: f32, round: f32, colour: u32 },
}

/// What was drawn so far, and where it goes on.
pub struct Flow {
    fonts: Fonts,
    pages: Vec<Vec<Mark>>,
    allowed: Pages,
    is_full: bool,
    headings: Vec<Heading>,
    /// Where the next line begins.
    pub y: f32,
}

impl Flow {
    pub fn new(fonts: Fonts, allowed: Pages) -> Flow {
        Flow { fonts, pages: vec![vec![]], allowed, is_full: false, headings: vec![], y: TOP }
    }

    /// Makes room for `height` points: on a new page, if there are too few on this one. Says whether it is new.
    pub fn room(&mut self, height: f32) -> bool {
        if self.y + height <= BOTTOM || self.y <= TOP {
            return false;
        }
        match self.allowed {
            Pages::Many => {
                self.pages.push(vec![]);
                self.y = TOP;
                true
            }
            Pages::One => {
                self.is_full = true;
                false
            }
        }
    }

    pub fn space(&mut self, height: f32) {
        self.y += height;
    }

    fn mark(&mut self, mark: Mark) {
        if let (Some(page), false) = (self.pages.last_mut(), self.is_full) {
            page.push(mark);
        }
    }

    /// A box with round corners; `y` is its upper edge.
    pub fn area(&mut self, x: f32, y: f32, wide: f32, high: f32, round: f32, colour: u32) {
        if wide > 0.0 && high > 0.0 {
            self.mark(Mark::Area { x, y, wide, high, round, colour });
        }
    }

    pub fn rule(&mut self) {
        self.area(MARGIN, self.y, INNER, 0.6, 0.0, RULE);
    }

    /// One line whose base line is at `y`, cut where it is wider than `limit`. Says how wide it is.
    pub fn line(&mut self, x: f32, y: f32, limit: f32, text: &str, style: Style) -> f32 {
        let letters = self.cut(text, limit, style);
        let wide = width(&letters, style.size);
        self.mark(Mark::Text { x, y, size: style.size, letters });
        wide
    }

    /// As [`line`](Flow::line), but it ends at `right`.
    pub fn line_to(&mut self, right: f32, y: f32, limit: f32, text: &str, style: Style) {
        let letters = self.cut(text, limit, style);
        let x = right - width(&letters, style.size);
        self.mark(Mark::Text { x, y, size: style.size, letters });
    }

    /// A short line around `x`.
    pub fn centred(&mut self, x: f32, y: f32, text: &str, style: Style) {
        let letters = self.fonts.letters(text, style.face, style.colour);
        let x = x - width(&letters, style.size) / 2.0;
        self.mark(Mark::Text { x, y, size: style.size, letters });
    }

    fn cut(&self, text: &str, limit: f32, style: Style) -> Vec<Letter> {
        let mut letters = self.fonts.letters(text, style.face, style.colour);
        if width(&letters, style.size) <= limit {
            return letters;
        }
        let dots = self.fonts.letters("…", style.face, style.colour);
        let room = limit - width(&dots, style.size);
        let mut wide = 0.0;
        let fitting = letters.iter().take_while(|letter| {
            wide += letter.advance * style.size;
            wide <= room
        });
        letters.truncate(fitting.count());
        letters.extend(dots);
        letters
    }

    /// Text in as many lines and pages as it takes.
    pub fn paragraph(&mut self, indent: f32, spans: &[(&str, Style)]) {
        let Some((_, style)) = spans.first() else { return };
        let (size, leading) = (style.size, style.leading());
        let letters: Vec<Letter> =
            spans.iter().flat_map(|(text, style)| self.fonts.letters(text, style.face, style.colour)).collect();
        for line in lines(&letters, size, INNER - indent) {
            self.room(leading);
            let (x, y) = (MARGIN + indent, self.y + size);
            self.mark(Mark::Text { x, y, size, letters: line.to_vec() });
            self.y += leading;
        }
    }

    /// Lines of a log, on a ground of their own.
    pub fn code(&mut self, text: &str) {
        let letters = self.fonts.letters(text, CODE.face, CODE.colour);
        for line in lines(&letters, CODE.size, INNER - 16.0) {
            self.room(CODE.leading());
            self.area(MARGIN, self.y, INNER, CODE.leading() + 0.3, 0.0, BOX);
            let (x, y) = (MARGIN + 8.0, self.y + CODE.size * 1.12);
            self.mark(Mark::Text { x, y, size: CODE.size, letters: line.to_vec() });
            self.y += CODE.leading();
        }
    }

    /// A heading that stays with what follows, and stands in the document's outline.
    pub fn heading(&mut self, text: &str) {
        self.space(16.0);
        self.room(70.0);
        self.headings.push((text.into(), self.pages.len() - 1, self.y));
        let style = STRONG.size(14.0);
        self.line(MARGIN, self.y + style.size, INNER, text, style);
        self.y += style.leading() + 4.0;
    }

    /// Text in the columns of a table: at most `most` lines each. Says how high the row is.
    fn cells(&self, columns: &[Column], row: &[String], style: Style, most: usize) -> (Vec<Vec<Vec<Letter>>>, f32) {
        let cells: Vec<Vec<Vec<Letter>>> = columns
            .iter()
            .zip(row)
            .map(|(column, text)| {
                let letters = self.fonts.letters(text, style.face, style.colour);
                let broken = lines(&letters, style.size, column.width - 8.0);
                let mut kept: Vec<Vec<Letter>> = broken.iter().take(most).map(|line| line.to_vec()).collect();
                if let (Some(last), true) = (kept.last_mut(), broken.len() > most) {
                    last.truncate(last.len().saturating_sub(1));
                    last.extend(self.fonts.letters("…", style.face, style.colour));
                }
                kept
            })
            .collect();
        let lines = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
        (cells, lines as f32 * style.leading() + 6.0)
    }

    /// A table whose head stands on every page; no cell has more than `most` lines.
    pub fn table(&mut self, columns: &[Column], rows: &[Vec<String>], most: usize) {
        self.room(50.0);
        self.table_head(columns);
        for row in rows {
            let style = BODY.size(8.0);
            let (cells, high) = self.cells(columns, row, style, most);
            if self.room(high) {
                self.table_head(columns);
            }
            let mut x = MARGIN;
            for (column, cell) in columns.iter().zip(cells) {
                for (number, letters) in cell.into_iter().enumerate() {
                    let y = self.y + 3.0 + style.size + number as f32 * style.leading();
                    let at =
                        if column.is_number { x + column.width - 6.0 - width(&letters, style.size) } else { x + 4.0 };
                    self.mark(Mark::Text { x: at, y, size: style.size, letters });
                }
                x += column.width;
            }
            self.y += high;
            self.rule();
        }
    }

    fn table_head(&mut self, columns: &[Column]) {
        let style = STRONG.size(8.0).colour(WHITE);
        self.area(MARGIN, self.y, INNER, 16.0, 2.0, INK);
        let mut x = MARGIN;
        for column in columns {
            if column.is_number {
                self.line_to(x + column.width - 6.0, self.y + 11.0, column.width - 8.0, column.name, style);
            } else {
                self.line(x + 4.0, self.y + 11.0, column.width - 8.0, column.name, style);
            }
            x += column.width;
        }
        self.y += 16.0;
    }

    /// The finished document, each page with `foot` and its number.
    pub fn finish(mut self, about: &About, foot: &str) -> anyhow::Result<Vec<u8>> {
        self.is_full = false;
        let all = self.pages.len();
        let mut finished = vec![];
        for (number, marks) in (1..).zip(std::mem::take(&mut self.pages)) {
            self.pages = vec![marks];
            self.area(MARGIN, HEIGHT - 40.0, INNER, 0.6, 0.0, RULE);
            self.line(MARGIN, HEIGHT - 27.0, INNER - 90.0, foot, SMALL);
            self.line_to(WIDTH - MARGIN, HEIGHT - 27.0, 90.0, &format!("Page {number} of {all}"), SMALL);
            finished.append(&mut self.pages);
        }
        paper::write(about, &self.fonts, &finished, self.headings)
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// In points; those of a table make [`INNER`] together.
    pub width: f32,
    pub is_number: bool,
}

impl Column {
    pub fn text(name: &'static str, width: f32) -> Column {
        Column { name, width, is_number: false }
    }

    pub fn number(name: &'static str, width: f32) -> Column {
        Column { name, width, is_number: true }
    }
}
