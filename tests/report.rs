//! Documents of an analysis, opened by other people's programs.

mod fixture;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;
use palisade::event::analysis::Analysis;
use palisade::report::{Format, ReportConfig, export, narrative, schema};
use serde_json::Value;

/// The programs and modules that open documents here, by Debian's packages.
const COMMANDS: [(&str, &str); 4] =
    [("pdftotext", "poppler-utils"), ("pdfinfo", "poppler-utils"), ("pdffonts", "poppler-utils"), ("jq", "jq")];

/// Says what is skipped where one is missing, or fails when `PALISADE_REQUIRE_REPORT=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
fn has_tools(what: &str) -> bool {
    let mut missing: Vec<&str> = COMMANDS.iter().filter(|(name, _)| !runs(name, "-h")).map(|(_, of)| *of).collect();
    if python().is_none() {
        missing.push("python3-openpyxl, python3-jsonschema");
    }
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var("PALISADE_REQUIRE_REPORT").is_ok_and(|value| value == "1");
    assert!(!required, "tools for documents are required and not installed: {missing:?}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs {missing:?}");
    false
}

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok()
}

/// A Python that has the modules; another one may stand before Debian's.
fn python() -> Option<&'static str> {
    let has_modules = |python: &&str| {
        Command::new(python).args(["-c", "import openpyxl, jsonschema"]).output().is_ok_and(|out| out.status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(has_modules)
}

/// What `program` says, which must succeed and complain of nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && complaint.is_empty(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(out.stdout).unwrap()
}

/// What this script says of `file`; a failed `assert` fails the test.
fn checked(script: &str, arguments: &[&str]) -> String {
    said(python().unwrap(), &[&["-W", "ignore", "-c", script], arguments].concat())
}

fn told(of: Value) -> Analysis {
    let mut analysis: Analysis = serde_json::from_value(of).unwrap();
    analysis.narrative = narrative(&analysis);
    analysis
}

struct Documents {
    dir: tempfile::TempDir,
    config: ReportConfig,
}

impl Documents {
    fn new() -> Documents {
        Documents { dir: tempfile::tempdir().unwrap(), config: ReportConfig::default() }
    }

    /// The path of a document.
    fn write(&self, analysis: &Analysis, format: Format) -> String {
        let path: PathBuf = self.dir.path().join(format!("{}.{}", format.name(), format.extension()));
        std::fs::write(&path, export(format, analysis, &self.config).unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn a_pdf_reads_as_it_was_written() {
    if !has_tools("reading a PDF") {
        return;
    }
    let documents = Documents::new();
    let path = documents.write(&told(fixture::plain()), Format::Pdf);
    let info = said("pdfinfo", &[&path]);
    assert!(info.contains("Palisade: Security report") && info.contains("Sat Mar 14 08:00:00 2026"), "{info}");
    let text = said("pdftotext", &["-layout", &path, "-"]);
    for part in [
        "Security report",
        "CRITICAL",
        "Threats by severity",
        "Time line",
        "How the attack went on",
        "What to do now",
        "T3  Brute force",
        "root, admin, μαρία",
        "Пользователь Иван logged in",
        "T1110.001 Password Guessing",
        "Accepted password for root from 203.0.113.45",
        "Addresses",
        "AS64500",
        "Recommendations",
        "Who did what",
        "user backup2 was added",
        "Page 1 of",
    ] {
        assert!(text.replace("T3 B", "T3  B").contains(part), "{part}: {text}");
    }
    let fonts = said("pdffonts", &[&path]);
    let rows: Vec<&str> = fonts.lines().skip(2).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let columns: Vec<&str> = row.split_whitespace().collect();
        assert!(row.contains("DejaVuSans") && columns.windows(3).any(|three| three == ["yes"; 3]), "{row}");
    }
}

#[test]
fn what_is_hostile_wraps_stays_on_the_page_and_is_no_box() {
    if !has_tools("reading a PDF") {
        return;
    }
    let documents = Documents::new();
    let hostile = told(fixture::hostile());
    for format in [Format::Pdf, Format::PdfSummary] {
        let path = documents.write(&hostile, format);
        let text = said("pdftotext", &["-layout", &path, "-"]);
        assert!(text.contains("\\u{1f480}") && !text.contains(['\u{1b}', '\u{202e}', '\u{1f480}']), "{text}");
        let boxes = said("pdftotext", &["-bbox", &path, "-"]);
        let edge = |line: &str, name: &str| -> f64 {
            line.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
        };
        let words: Vec<&str> = boxes.lines().filter(|line| line.trim_start().starts_with("<word ")).collect();
        assert!(words.len() > 200);
        for word in words {
            let beyond = edge(word, "xMin") < 40.0 || edge(word, "xMax") > 555.0 || edge(word, "yMax") > 830.0;
            assert!(!beyond, "{word}");
        }
    }
}

#[test]
fn the_short_report_is_one_page_with_every_step() {
    if !has_tools("reading a PDF") {
        return;
    }
    let documents = Documents::new();
    for analysis in [told(fixture::plain()), told(fixture::hostile())] {
        let path = documents.write(&analysis, Format::PdfSummary);
        assert!(said("pdfinfo", &[&path]).lines().any(|line| line.replace(' ', "") == "Pages:1"));
        let text = said("pdftotext", &["-layout", &path, "-"]);
        assert!(text.contains("Gravest threats") && text.contains("Page 1 of 1"));
        assert!(text.contains("two weeks"), "the last step of the plan is there: {text}");
    }
}

#[test]
fn other_scripts_show_in_a_font_of_the_configuration() {
    const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
    if !has_tools("reading a PDF") || !Path::new(FONT).exists() {
        return;
    }
    let mut analysis = told(fixture::plain());
    analysis.threats[0].description = "Armenian: Հայ.".into();
    let mut documents = Documents::new();
    let text = said("pdftotext", &[&documents.write(&analysis, Format::Pdf), "-"]);
    assert!(text.contains("\\u{540}\\u{561}\\u{575}"), "{text}");
    documents.config.font = Some(FONT.into());
    let text = said("pdftotext", &[&documents.write(&analysis, Format::Pdf), "-"]);
    assert!(text.contains("Հայ"), "{text}");
}

#[test]
fn a_workbook_has_its_sheets_and_no_formula() {
    if !has_tools("opening a workbook") {
        return;
    }
    let documents = Documents::new();
    for analysis in [told(fixture::plain()), told(fixture::hostile())] {
        let path = documents.write(&analysis, Format::Xlsx);
        let seen = checked(
            "import json, sys, openpyxl\n\
             book = openpyxl.load_workbook(sys.argv[1])\n\
             assert book.sheetnames == ['Summary', 'Threats', 'Addresses', 'Compliance'], book.sheetnames\n\
             cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]\n\
             assert {cell.data_type for cell in cells} <= {'s', 'n'}, 'a formula'\n\
             assert not any(cell.hyperlink for cell in cells)\n\
             assert max(len(str(cell.value).encode('utf-16-le')) // 2 for cell in cells) <= 32767\n\
             threats = book['Threats']\n\
             assert threats.freeze_panes == 'A2' and threats.auto_filter.ref == 'A1:R7', threats.auto_filter.ref\n\
             assert len(book['Summary']._charts) == 1\n\
             colours = [threats.cell(row, 3).fill.fgColor.rgb for row in range(2, 8)]\n\
             assert colours == ['FFA61B1B'] * 2 + ['FFC2410C'] * 2 + ['FF9A6700', 'FF2F6FB2'], colours\n\
             print(json.dumps([[threats.cell(row, column).value for column in (1, 7, 17)] for row in range(2, 8)]))",
            &[&path],
        );
        let rows: Vec<(String, Option<String>, Option<String>)> = serde_json::from_str(&seen).unwrap();
        for (threat, (id, actor, description)) in analysis.threats.iter().zip(rows) {
            assert_eq!(id, threat.id);
            for (seen, written) in [(actor, threat.actor.clone()), (description, Some(threat.description.clone()))] {
                let written = written.unwrap_or_default();
                // Readers of XML make one line end of several, and differ in how they give control signs back.
                if written.contains(char::is_control) {
                    continue;
                }
                let written = written.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
                let begin = |text: &str| text.chars().take(10_000).collect::<String>();
                assert_eq!(begin(&seen.unwrap_or_default()), begin(&written), "{id}");
            }
        }
    }
}

#[test]
fn csv_has_a_row_for_each_threat_and_no_formula() {
    if !has_tools("reading CSV") {
        return;
    }
    let documents = Documents::new();
    for analysis in [told(fixture::plain()), told(fixture::hostile())] {
        let path = documents.write(&analysis, Format::Csv);
        checked(
            "import csv, sys\n\
             csv.field_size_limit(1 << 24)\n\
             rows = list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8'), strict=True))\n\
             assert len(rows) == 7 and {len(row) for row in rows} == {19}, [len(row) for row in rows]\n\
             assert rows[0][:3] == ['id', 'kind', 'severity'] and rows[1][0] == 'T1'\n\
             assert not any(cell.lstrip()[:1] in tuple('=+-@') for row in rows for cell in row)\n\
             assert not any(ord(c) < 32 for row in rows for cell in row for c in cell)",
            &[&path],
        );
    }
}

#[test]
fn json_is_of_the_published_schema() {
    let written = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/docs/analysis.schema.json")].assert_eq(&written);
    if !has_tools("checking JSON") {
        return;
    }
    let documents = Documents::new();
    for analysis in [told(fixture::plain()), told(fixture::hostile())] {
        let path = documents.write(&analysis, Format::Json);
        assert_eq!(
            said("jq", &["-c", "[.version, .threat_level, (.threats | length)]", &path]),
            "[1,\"critical\",6]\n"
        );
        let read: Analysis = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read, analysis, "it reads back whole");
        checked(
            "import json, sys, jsonschema\n\
             schema = json.load(open(sys.argv[2]))\n\
             jsonschema.Draft202012Validator.check_schema(schema)\n\
             validator = jsonschema.Draft202012Validator(schema)\n\
             analysis = json.load(open(sys.argv[1]))\n\
             validator.validate(analysis)\n\
             analysis['threats'][0]['severity'] = 'dire'\n\
             assert not validator.is_valid(analysis), 'the schema takes anything'",
            &[&path, concat!(env!("CARGO_MANIFEST_DIR"), "/docs/analysis.schema.json")],
        );
    }
}

#[test]
fn a_bundle_is_what_stix_asks_for() {
    if !has_tools("checking STIX") {
        return;
    }
    let documents = Documents::new();
    for analysis in [told(fixture::plain()), told(fixture::hostile())] {
        let path = documents.write(&analysis, Format::Stix);
        // Required properties by the tables of STIX 2.1; with the validator of OASIS too where it is installed.
        checked(
            "import json, re, sys, uuid\n\
             COMMON = ['created', 'modified']\n\
             REQUIRED = {\n\
              'identity': COMMON + ['name'], 'attack-pattern': COMMON + ['name'],\n\
              'indicator': COMMON + ['pattern', 'pattern_type', 'valid_from'],\n\
              'relationship': COMMON + ['relationship_type', 'source_ref', 'target_ref'],\n\
              'observed-data': COMMON + ['first_observed', 'last_observed', 'number_observed', 'object_refs'],\n\
              'report': COMMON + ['name', 'published', 'object_refs'],\n\
              'ipv4-addr': ['value'], 'ipv6-addr': ['value'], 'domain-name': ['value'], 'url': ['value'],\n\
              'email-addr': ['value'], 'user-account': ['account_login'], 'file': []}\n\
             bundle = json.load(open(sys.argv[1]))\n\
             assert bundle['type'] == 'bundle'\n\
             ids = {one['id'] for one in bundle['objects']}\n\
             assert len(ids) == len(bundle['objects']) > 10\n\
             kinds = set()\n\
             for one in bundle['objects']:\n\
             \x20   kinds.add(one['type'])\n\
             \x20   kind, _, name = one['id'].partition('--')\n\
             \x20   assert kind == one['type'] and uuid.UUID(name).version == 5 and str(uuid.UUID(name)) == name\n\
             \x20   assert one['spec_version'] == '2.1'\n\
             \x20   missing = [name for name in REQUIRED[kind] if not one.get(name)]\n\
             \x20   assert not missing, (one, missing)\n\
             \x20   refs = [one[name] for name in one if name.endswith('_ref')] + one.get('object_refs', [])\n\
             \x20   assert set(refs) <= ids, one\n\
             \x20   for name in ('created', 'modified', 'valid_from', 'published', 'first_observed', 'last_observed'):\n\
             \x20       assert re.fullmatch(r'\\d{4}(-\\d\\d){2}T\\d\\d(:\\d\\d){2}\\.\\d{3}Z', one.get(name, '2026-01-01T00:00:00.000Z'))\n\
             \x20   for reference in one.get('external_references', []):\n\
             \x20       assert reference['source_name'] == 'mitre-attack' and reference['external_id'].startswith('T')\n\
             assert kinds >= {'identity', 'attack-pattern', 'indicator', 'relationship', 'observed-data', 'report', 'ipv4-addr'}\n\
             try:\n\
             \x20   from stix2validator import validate_file, ValidationOptions\n\
             except ImportError:\n\
             \x20   sys.exit()\n\
             result = validate_file(sys.argv[1], ValidationOptions(version='2.1'))\n\
             assert result.is_valid, [str(error) for one in result.object_results for error in one.errors]",
            &[&path],
        );
    }
}

#[test]
fn records_for_siems_are_lines_with_what_their_schemas_require() {
    if !has_tools("checking records for SIEMs") {
        return;
    }
    let documents = Documents::new();
    for analysis in [told(fixture::plain()), told(fixture::hostile())] {
        let ecs = documents.write(&analysis, Format::Ecs);
        let seen = said("jq", &["-c", "[.[\"@timestamp\"], .ecs.version, .event.kind, .event.severity]", &ecs]);
        assert_eq!(seen.lines().count(), 6);
        assert_eq!(seen.lines().next(), Some("[\"2026-03-14T05:47:00.000Z\",\"8.17.0\",\"alert\",5]"));
        let ocsf = documents.write(&analysis, Format::Ocsf);
        // Attributes that OCSF 1.4.0 requires of a Detection Finding, and of what is in it.
        let required = "[.activity_id, .category_uid, .class_uid, .type_uid, .severity_id, .time, .metadata.version, \
             .metadata.product.name, .metadata.product.vendor_name, .finding_info.uid, .finding_info.title] | all(. != null)";
        assert_eq!(said("jq", &[required, &ocsf]), "true\n".repeat(6));
        let observables =
            "[.observables[]? | (.name | type), (.type_id | type)] | unique - [\"string\", \"number\"] | length";
        assert_eq!(said("jq", &[observables, &ocsf]), "0\n".repeat(6));
        assert_eq!(said("jq", &[".type_uid == .class_uid * 100 + .activity_id", &ocsf]), "true\n".repeat(6));
    }
}

#[test]
fn the_example_of_the_documentation_is_what_is_written() {
    let page = export(Format::Html, &told(fixture::plain()), &ReportConfig::default()).unwrap();
    expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example-report.html")]
        .assert_eq(&String::from_utf8(page).unwrap());
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reports.md")).unwrap();
    for format in Format::ALL {
        assert!(docs.contains(&format!("| `{}` |", format.name())), "{}", format.name());
    }
}
