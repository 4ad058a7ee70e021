use proptest::prelude::*;

use super::*;
use crate::event::Category;
use crate::event::samples::{self, NOW};

fn key(text: &str) -> Key {
    Key::new(text.repeat(32).as_bytes()).unwrap()
}

fn reader() -> Reader {
    Reader {
        name: "web-2".into(),
        key: key("k"),
        config: FleetConfig { max_ban_secs: 86_400, ..FleetConfig::default() },
    }
}

fn decision() -> Decision {
    Decision {
        id: "0123456789abcdef0123456789abcdef".into(),
        ground: Ground {
            finding_id: Some("f".into()),
            category: Some(Category::Sqli),
            score: 9,
            reason: "?id=1' UNION SELECT password".into(),
            ..Ground::default()
        },
        state: DecisionState::Active,
        offences: 3,
        ..samples::decision()
    }
}

fn message() -> Message {
    Message::of(&decision(), "web-1", &["sqli-union-select".into()], 86_400, NOW).unwrap()
}

fn refusal(message: &Message) -> &'static str {
    let signed = key("k").sign(message);
    reader().read(&signed, NOW).map_or_else(|(_, refusal)| refusal.as_str(), |_| "none")
}

#[test]
fn what_is_signed_is_read_and_holds_nothing_of_the_log() {
    let signed = key("k").sign(&message());
    assert_eq!(
        signed.body,
        "{\"version\":1,\"origin\":\"web-1\",\"id\":\"0123456789abcdef0123456789abcdef\",\"what\":\"banned\",\
         \"target\":\"203.0.113.7/32\",\"category\":\"sqli\",\"score\":9,\"reason\":\"sqli-union-select\",\
         \"created_at\":1767571200000,\"expires_at\":1767574800000,\"issued_at\":1767571200000}"
    );
    let read = reader().read(&signed, NOW).unwrap();
    assert_eq!(read, message());
    let asked = reader().decision(&read, NOW.plus_secs(9)).unwrap();
    assert_eq!((asked.target, asked.expires_at), (decision().target, decision().expires_at), "the sender's own end");
    assert_eq!((asked.proposer, asked.state, &*asked.origin), (Proposer::Fleet, DecisionState::Active, "web-1"));
    assert_eq!(asked.ground.reason, "decided by agent web-1: sqli-union-select");
    let other = Reader { name: "web-3".into(), ..reader() };
    assert_ne!(other.decision(&read, NOW).unwrap().id, asked.id, "each agent has decisions of its own");
    assert_eq!(reader().decision(&read, NOW).unwrap().id, asked.id, "the same each time");
}

#[test]
fn only_own_bans_that_reached_the_gate_are_told() {
    let tells = |decision: Decision| Message::of(&decision, "web-1", &[], 86_400, NOW);
    let what = |decision: Decision| tells(decision).map(|message| message.what);
    for (state, expected) in [
        (DecisionState::Pending, Some(What::Banned)),
        (DecisionState::Active, Some(What::Banned)),
        (DecisionState::Lifted, Some(What::Lifted)),
        (DecisionState::Expired, None),
        (DecisionState::Refused, None),
        (DecisionState::Held, None),
    ] {
        assert_eq!(what(Decision { state, ..decision() }), expected, "{state:?}");
    }
    for (proposer, is_told) in [
        (Proposer::Rules, true),
        (Proposer::Operator, true),
        (Proposer::Imported, false),
        (Proposer::Restored, false),
        (Proposer::Fleet, false),
    ] {
        assert_eq!(tells(Decision { proposer, ..decision() }).is_some(), is_told, "{proposer:?}");
    }
    assert_eq!(tells(Decision { simulated: true, ..decision() }), None);
    assert_eq!(
        tells(Decision { origin: "web-3".into(), ..decision() }),
        None,
        "what came from others does not go round"
    );
    assert_eq!(tells(Decision { expires_at: NOW, ..decision() }), None);
    let of = |target: &str| Decision { target: target.parse().unwrap(), ..decision() };
    assert!(tells(of("203.0.113.0/24")).is_some() && tells(of("203.0.112.0/23")).is_none());
    let permanent = Decision { expires_at: NOW.plus_secs(Decision::PERMANENT_SECS), ..decision() };
    assert_eq!(tells(permanent).unwrap().expires_at, NOW.plus_secs(86_400).0);
    let mut by_hand = Decision { proposer: Proposer::Operator, ..decision() };
    by_hand.ground.reason = "é".repeat(400);
    let told = tells(by_hand).unwrap();
    assert!(told.reason.len() <= REASON_BYTES && key("k").sign(&told).body.len() < MAX_BYTES);
    assert_eq!(refusal(&told), "none");
}

#[test]
fn what_does_not_hold_is_refused_by_its_reason() {
    type Change = fn(&mut Message);
    let cases: [(&str, Change); 19] = [
        ("none", |_| {}),
        ("none", |message| message.target = "2001:db8::/48".into()),
        ("version", |message| message.version = 2),
        ("own", |message| message.origin = "web-2".into()),
        ("malformed", |message| message.origin = "web 1\n".into()),
        ("malformed", |message| message.id = String::new()),
        ("malformed", |message| message.target = "203.0.113.7".into()),
        ("malformed", |message| message.target = "203.0.113.7/24".into()),
        ("malformed", |message| message.target = "::ffff:203.0.113.7/128".into()),
        ("malformed", |message| message.target = "2001:DB8::/64".into()),
        ("malformed", |message| message.category = Some("kindness".into())),
        ("malformed", |message| message.score = 11),
        ("too_wide", |message| message.target = "203.0.0.0/16".into()),
        ("too_wide", |message| message.target = "::/0".into()),
        ("over", |message| message.expires_at = NOW.0),
        ("too_far", |message| message.expires_at = NOW.plus_secs(86_400 + 301).0),
        ("too_far", |message| message.expires_at = i64::MAX),
        ("none", |message| message.issued_at = NOW.plus_secs(300).0),
        ("future", |message| message.issued_at = NOW.plus_secs(300).0 + 1),
    ];
    for (expected, change) in cases {
        let mut changed = message();
        change(&mut changed);
        assert_eq!(refusal(&changed), expected, "{changed:?}");
    }
    let long = Message { reason: "a".repeat(MAX_BYTES), ..message() };
    assert_eq!(refusal(&long), "too_long");
    let by_another = key("q").sign(&message());
    assert_eq!(reader().read(&by_another, NOW), Err((None, Refusal::Signature)));
    assert!(Key::new(&[7; 31]).is_none());
    let only = FleetConfig { take_from: vec!["web-3".into()], ..reader().config };
    let picky = Reader { config: only, ..reader() };
    assert_eq!(picky.read(&key("k").sign(&message()), NOW), Err((Some("web-1".into()), Refusal::NotTaken)));
}

#[test]
fn signed_nonsense_is_refused() {
    for body in ["", "{}", "[]", "null", "{\"version\":1}", "{\"version\":\"1\"}", "\u{0}"] {
        let mac = hmac::sign(&key("k").0, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let signed = Signed { body: body.into(), mac };
        assert!(matches!(reader().read(&signed, NOW), Err((None, Refusal::Malformed(_)))), "{body:?}");
    }
}

proptest! {
    #[test]
    fn a_message_with_any_byte_changed_is_refused(place in 0..10_000_usize, bit in 0..7_u8, in_mac: bool) {
        let mut signed = key("k").sign(&message());
        let text = if in_mac { &mut signed.mac } else { &mut signed.body };
        let mut bytes = text.clone().into_bytes();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        // A digit of the signature may be written large.
        prop_assume!(!bytes[place].eq_ignore_ascii_case(&text.as_bytes()[place]));
        *text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert_eq!(reader().read(&signed, NOW), Err((None, Refusal::Signature)));
    }

    #[test]
    fn no_bytes_make_it_fail(body: String, mac: String) {
        let signed = Signed { body, mac };
        prop_assert!(reader().read(&signed, NOW).is_err());
        let _ = signed.expires_at();
    }

    #[test]
    fn a_cut_message_is_refused(length in 0..400_usize) {
        let whole = key("k").sign(&message());
        let cut = |text: &str, length: usize| text[..length % text.len()].to_owned();
        for signed in [
            Signed { body: cut(&whole.body, length), mac: whole.mac.clone() },
            Signed { body: whole.body.clone(), mac: cut(&whole.mac, length) },
        ] {
            prop_assert_eq!(reader().read(&signed, NOW), Err((None, Refusal::Signature)));
        }
    }
}
