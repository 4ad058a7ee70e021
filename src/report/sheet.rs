//! A report as a workbook of Excel. Text is written as text: no formula and no link comes of it.

use anyhow::Context;
use rust_xlsxwriter::{
    Chart, ChartFormat, ChartPoint, ChartSolidFill, ChartType, DocProperties, ExcelDateTime, Format, FormatAlign,
    FormatBorder, Workbook, Worksheet,
};

use super::{colour, distribution, line_ranges, listed, named, technique, values};
use crate::event::Severity;
use crate::event::analysis::{Analysis, AuditEntry, Claim};

/// Characters in a cell, and rows in a sheet, that Excel takes.
const CELL: usize = 32_767;
const ROWS: usize = 1_048_576;

/// Colours of the table heads.
const HEAD: u32 = 0x1D_27_33;
const LINE: u32 = 0xD6_DD_E5;

/// Sheets `Summary`, `Threats`, `Addresses` and `Compliance`.
///
/// # Errors
/// What the library refuses; it is given nothing beyond Excel's limits.
pub fn workbook(analysis: &Analysis) -> anyhow::Result<Vec<u8>> {
    let mut book = Workbook::new();
    let made = ExcelDateTime::from_timestamp(analysis.time.secs()).context("the time of the analysis")?;
    let properties = DocProperties::new().set_title("Palisade security report").set_author("Palisade");
    book.set_properties(&properties.set_creation_datetime(&made));
    summary(book.add_worksheet(), analysis)?;
    table(book.add_worksheet().set_name("Threats")?, THREATS, threats(analysis))?;
    table(book.add_worksheet().set_name("Addresses")?, ADDRESSES, addresses(analysis))?;
    table(book.add_worksheet().set_name("Compliance")?, COMPLIANCE, compliance(analysis))?;
    Ok(book.save_to_buffer()?)
}

enum Cell {
    Text(String),
    Number(f64),
    Severity(Severity),
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        if text.is_empty() { Cell::Empty } else { Cell::Text(text.into()) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        text.as_str().into()
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell::Number(number as f64)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Empty, Into::into)
    }
}

/// A column's heading and width in characters.
type Column = (&'static str, f64);

const THREATS: &[Column] = &[
    ("Id", 6.0),
    ("Kind", 24.0),
    ("Severity", 13.0),
    ("Confidence", 11.0),
    ("Risk", 7.0),
    ("Outcome", 11.0),
    ("Actor", 20.0),
    ("Addresses", 24.0),
    ("Users", 18.0),
    ("First seen", 24.0),
    ("Last seen", 24.0),
    ("Events", 9.0),
    ("Lines", 20.0),
    ("Indicators", 30.0),
    ("Rules", 24.0),
    ("ATT&CK", 26.0),
    ("Description", 60.0),
    ("What to do", 60.0),
];

fn threats(analysis: &Analysis) -> impl Iterator<Item = Vec<Cell>> {
    analysis.threats.iter().map(|threat| {
        vec![
            threat.id.as_str().into(),
            threat.kind.title().into(),
            Cell::Severity(threat.severity),
            u64::from(threat.confidence).into(),
            u64::from(threat.risk).into(),
            named(&threat.outcome).into(),
            threat.actor.as_deref().into(),
            listed(&threat.addresses, usize::MAX).into(),
            listed(&threat.users, usize::MAX).into(),
            threat.first_time.map(|time| time.to_string()).into(),
            threat.last_time.map(|time| time.to_string()).into(),
            threat.events.into(),
            line_ranges(&threat.lines, usize::MAX).into(),
            listed(&values(&threat.indicators), usize::MAX).into(),
            listed(&threat.rule_ids, usize::MAX).into(),
            listed(&technique::titles(&threat.techniques), usize::MAX).into(),
            threat.description.as_str().into(),
            threat.recommendation.as_str().into(),
        ]
    })
}

const ADDRESSES: &[Column] = &[
    ("Address", 40.0),
    ("Lines", 9.0),
    ("Threats", 20.0),
    ("Country", 9.0),
    ("Network", 22.0),
    ("ASN", 10.0),
    ("Reputation", 11.0),
];

fn addresses(analysis: &Analysis) -> impl Iterator<Item = Vec<Cell>> {
    analysis.addresses.iter().map(|one| {
        vec![
            one.address.to_string().into(),
            one.lines.into(),
            listed(&one.threats, usize::MAX).into(),
            one.country.as_deref().into(),
            one.network.as_deref().into(),
            one.asn.map(u64::from).into(),
            one.reputation.map(u64::from).into(),
        ]
    })
}

const COMPLIANCE: &[Column] = &[
    ("What", 18.0),
    ("User", 20.0),
    ("Time", 24.0),
    ("Line", 9.0),
    ("Logins", 9.0),
    ("Failed logins", 13.0),
    ("Changes", 9.0),
    ("Lines", 9.0),
    ("Addresses", 40.0),
    ("Description", 60.0),
];

fn compliance(analysis: &Analysis) -> impl Iterator<Item = Vec<Cell>> {
    let told = &analysis.compliance;
    let users = told.users.iter().map(|user| {
        vec![
            "user".into(),
            user.user.as_str().into(),
            Cell::Empty,
            Cell::Empty,
            user.logins.into(),
            user.failed_logins.into(),
            user.changes.into(),
            user.lines.into(),
            listed(&user.addresses, usize::MAX).into(),
            Cell::Empty,
        ]
    });
    let entry = |what: &'static str| {
        move |entry: &AuditEntry| {
            let time = entry.time.map(|time| time.to_string());
            let mut row = vec![what.into(), entry.user.as_deref().into(), time.into(), entry.line.into()];
            row.resize_with(COMPLIANCE.len() - 1, || Cell::Empty);
            row.push(entry.what.as_str().into());
            row
        }
    };
    users.chain(told.changes.iter().map(entry("change"))).chain(told.sensitive_access.iter().map(entry("access")))
}

/// A sheet that is one table: its head stays in view, and Excel filters by each column.
fn table(sheet: &mut Worksheet, columns: &[Column], rows: impl Iterator<Item = Vec<Cell>>) -> anyhow::Result<()> {
    let head = head_format();
    for (at, (name, width)) in (0_u16..).zip(columns) {
        sheet.set_column_width(at, *width)?;
        sheet.write_string_with_format(0, at, *name, &head)?;
    }
    let mut last = 0;
    for (row, cells) in (1_u32..).zip(rows.take(ROWS - 1)) {
        for (at, cell) in (0_u16..).zip(&cells) {
            write(sheet, row, at, cell)?;
        }
        last = row;
    }
    sheet.set_freeze_panes(1, 0)?.set_landscape().set_repeat_rows(0, 0)?;
    sheet.set_print_fit_to_pages(1, 0);
    let width = u16::try_from(columns.len()).unwrap_or(u16::MAX).saturating_sub(1);
    sheet.autofilter(0, 0, last, width)?;
    Ok(())
}

fn head_format() -> Format {
    Format::new()
        .set_bold()
        .set_font_color(0xFF_FF_FF)
        .set_background_color(HEAD)
        .set_align(FormatAlign::VerticalCenter)
}

fn body_format() -> Format {
    let format = Format::new().set_align(FormatAlign::Top).set_text_wrap();
    format.set_border_bottom(FormatBorder::Thin).set_border_bottom_color(LINE)
}

fn write(sheet: &mut Worksheet, row: u32, column: u16, cell: &Cell) -> anyhow::Result<()> {
    match cell {
        Cell::Empty => sheet.write_blank(row, column, &body_format())?,
        Cell::Number(number) => sheet.write_number_with_format(row, column, *number, &body_format())?,
        Cell::Text(text) => sheet.write_string_with_format(row, column, fitting(text), &body_format())?,
        Cell::Severity(severity) => {
            let format = body_format().set_bold().set_font_color(0xFF_FF_FF).set_background_color(colour(*severity));
            sheet.write_string_with_format(row, column, severity.as_str(), &format)?
        }
    };
    Ok(())
}

/// `text` as far as a cell holds it, which Excel counts in units of UTF-16, without what XML cannot hold.
fn fitting(text: &str) -> String {
    let mut units = 0;
    let mut out = String::new();
    for c in text.chars().map(|c| if matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c }) {
        units += c.len_utf16();
        if units > CELL - 1 {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// Figures, what is told in words, and a chart.
fn summary(sheet: &mut Worksheet, analysis: &Analysis) -> anyhow::Result<()> {
    sheet.set_name("Summary")?;
    sheet.set_column_width(0, 22)?.set_column_width(1, 90)?.set_column_width(2, 24)?.set_column_width(3, 24)?;
    let title = Format::new().set_bold().set_font_size(20);
    sheet.write_string_with_format(0, 0, "Security report", &title)?;
    let name = Format::new().set_bold().set_align(FormatAlign::Top);
    let mut row = 2;
    let mut line = |sheet: &mut Worksheet, what: &str, cell: Cell| -> anyhow::Result<u32> {
        sheet.write_string_with_format(row, 0, what, &name)?;
        write(sheet, row, 1, &cell)?;
        row += 1;
        Ok(row)
    };
    let input = &analysis.input;
    line(sheet, "Threat level", analysis.threat_level.map_or("none".into(), Cell::Severity))?;
    line(sheet, "Risk (0–100)", u64::from(analysis.risk.score).into())?;
    line(sheet, "Security score", u64::from(analysis.risk.security_score).into())?;
    line(sheet, "Health", analysis.risk.health.as_str().into())?;
    line(sheet, "Report", analysis.id.as_str().into())?;
    line(sheet, "Made", analysis.time.to_string().into())?;
    line(sheet, "Input", listed(&input.names, 100).into())?;
    line(sheet, "From", input.first_time.map(|time| time.to_string()).into())?;
    line(sheet, "To", input.last_time.map(|time| time.to_string()).into())?;
    line(sheet, "Lines", input.lines.into())?;
    line(sheet, "Not understood", input.unparsed.into())?;
    line(sheet, "Threats", (analysis.threats.len() as u64).into())?;
    line(sheet, "Addresses", (analysis.addresses.len() as u64).into())?;
    line(sheet, "Logins", analysis.compliance.logins.into())?;
    let mut end = line(sheet, "Failed logins", analysis.compliance.failed_logins.into())?;
    if let Some(compression) = &analysis.compression {
        line(sheet, "Tokens", compression.original_tokens.into())?;
        end = line(sheet, "Compressed tokens", compression.compressed_tokens.into())?;
    }
    let counts_at = end + 1;
    heading(sheet, counts_at, &["Severity", "Threats", "", ""])?;
    for (row, (severity, count)) in (counts_at + 1..).zip(distribution(analysis)) {
        write(sheet, row, 0, &Cell::Severity(severity))?;
        let left = body_format().set_align(FormatAlign::Left);
        sheet.write_number_with_format(row, 1, count as f64, &left)?;
    }
    chart(sheet, counts_at + 1)?;
    let mut row = counts_at + 7;
    let told = &analysis.narrative;
    let goal: Vec<Claim> = told.goal.iter().cloned().collect();
    for (title, claims) in [
        ("Summary", &told.summary),
        ("Attack chain", &told.chain),
        ("Goal", &goal),
        ("What to do now", &told.plan),
        ("Recommendations", &told.recommendations),
    ] {
        if claims.is_empty() {
            continue;
        }
        heading(sheet, row, &[title, "", "Threats", "Lines"])?;
        for (number, claim) in (1_u32..).zip(claims) {
            row += 1;
            write(sheet, row, 0, &u64::from(number).into())?;
            write(sheet, row, 1, &claim.text.as_str().into())?;
            write(sheet, row, 2, &listed(&claim.threats, usize::MAX).into())?;
            write(sheet, row, 3, &line_ranges(&claim.lines, usize::MAX).into())?;
        }
        row += 2;
    }
    sheet.set_freeze_panes(1, 0)?.set_landscape();
    sheet.set_print_fit_to_pages(1, 0);
    Ok(())
}

fn heading(sheet: &mut Worksheet, row: u32, names: &[&str]) -> anyhow::Result<()> {
    for (at, name) in (0_u16..).zip(names) {
        sheet.write_string_with_format(row, at, *name, &head_format())?;
    }
    Ok(())
}

/// Threats by severity, whose rows begin at `first`.
fn chart(sheet: &mut Worksheet, first: u32) -> anyhow::Result<()> {
    let mut chart = Chart::new(ChartType::Bar);
    let points: Vec<ChartPoint> = Severity::ALL
        .iter()
        .rev()
        .map(|severity| {
            let fill = ChartSolidFill::new().set_color(colour(*severity)).clone();
            ChartPoint::new().set_format(ChartFormat::new().set_solid_fill(&fill))
        })
        .collect();
    let series = chart.add_series();
    series.set_categories(("Summary", first, 0, first + 4, 0)).set_values(("Summary", first, 1, first + 4, 1));
    series.set_points(&points).set_gap(40);
    chart.title().set_name("Threats by severity");
    chart.legend().set_hidden();
    chart.y_axis().set_reverse();
    chart.set_width(420).set_height(260);
    sheet.insert_chart(2, 4, &chart)?;
    Ok(())
}
