//! Who wrote how many lines of which template: of the lines that are not kept word for word.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

/// Of more clients than these, those that did the same are told together.
const TOLD_ALONE: usize = 256;

/// Lines of a client that are of one template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub client: Option<IpAddr>,
    pub template: usize,
    pub count: u64,
    pub first: u64,
    pub last: u64,
}

/// How often a client wrote a template, and in which lines first and last.
type Wrote = (u64, u64, u64);

#[derive(Default)]
pub struct Clients {
    shares: HashMap<(Option<IpAddr>, usize), Wrote, RandomState>,
}

/// Clients that did the same: how often which template.
pub struct Group {
    pub text: String,
    pub clients: usize,
    pub lines: u64,
    pub first: u64,
    pub last: u64,
    pub shares: Vec<Share>,
}

impl Clients {
    pub fn add(&mut self, client: Option<IpAddr>, template: usize, number: u64) {
        let (count, _, last) = self.shares.entry((client, template)).or_insert((0, number, number));
        *count += 1;
        *last = number;
    }

    /// The busiest first. `title` names a template.
    pub fn groups(self, title: &dyn Fn(usize) -> String) -> Vec<Group> {
        let mut by_client: BTreeMap<Option<IpAddr>, Vec<Share>> = BTreeMap::new();
        for ((client, template), (count, first, last)) in self.shares {
            by_client.entry(client).or_default().push(Share { client, template, count, first, last });
        }
        let is_few = by_client.len() <= TOLD_ALONE;
        let mut alike: BTreeMap<_, Vec<Vec<Share>>> = BTreeMap::new();
        for (client, mut shares) in by_client {
            shares.sort_by_key(|share| (std::cmp::Reverse(share.count), share.template));
            let did: Vec<(usize, u64)> = shares.iter().map(|share| (share.template, share.count)).collect();
            alike.entry((did, client.is_some(), client.filter(|_| is_few))).or_default().push(shares);
        }
        let mut groups: Vec<Group> = alike.into_values().map(|members| Group::of(members, title)).collect();
        groups.sort_by(|a, b| b.lines.cmp(&a.lines).then(a.first.cmp(&b.first)));
        groups
    }
}

impl Group {
    fn of(members: Vec<Vec<Share>>, title: &dyn Fn(usize) -> String) -> Group {
        let all = || members.iter().flatten();
        let did: Vec<String> = members[0]
            .iter()
            .map(|share| {
                title(share.template) + &(if share.count > 1 { format!("×{}", share.count) } else { "".into() })
            })
            .collect();
        let addresses: Vec<IpAddr> = members.iter().filter_map(|shares| shares.first()?.client).collect();
        let lines = all().map(|share| share.count).sum();
        let first = all().map(|share| share.first).min().unwrap_or_default();
        let last = all().map(|share| share.last).max().unwrap_or_default();
        let who = match (&addresses[..], members.len()) {
            ([], _) => "without an address".into(),
            (_, 1) => addresses[0].to_string(),
            _ => format!("each of {}", braces(&addresses)),
        };
        let span = if first == last { format!("L{first}") } else { format!("L{first}-{last}") };
        let text = format!("{who}: {} {span}", did.join(" "));
        Group { text, clients: members.len(), lines, first, last, shares: members.into_iter().flatten().collect() }
    }
}

/// Addresses, with what they begin with alike once, as shells write it: `192.0.2.{1,4-9}`. `addresses` grow.
fn braces(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let (v6, v4): (Vec<&str>, Vec<&str>) = texts.iter().map(String::as_str).partition(|text| text.contains(':'));
    [alike(&v4, 10), alike(&v6, 16)].concat().join(" ")
}

/// What is left of addresses behind what they have in common; numbers in it are of `radix`.
fn alike(rests: &[&str], radix: u32) -> Vec<String> {
    let number = |rest: &str| u32::from_str_radix(rest, radix).ok();
    let is_alike = |a: &&str, b: &&str| match (head(a), head(b)) {
        ("", "") => number(b).is_some_and(|b| b.checked_sub(1) == number(a)),
        (a, b) => a == b,
    };
    let told = rests.chunk_by(is_alike).map(|group| match (head(group[0]), group) {
        (_, [only]) => (*only).to_owned(),
        ("", [first, last]) => format!("{first},{last}"),
        ("", _) => format!("{}-{}", group[0], group[group.len() - 1]),
        (head, _) => {
            let ends: Vec<&str> = group.iter().map(|rest| &rest[head.len()..]).collect();
            match &alike(&ends, radix)[..] {
                [only] if only.contains(['.', ':']) => format!("{head}{only}"),
                ends => format!("{head}{{{}}}", ends.join(",")),
            }
        }
    });
    told.collect()
}

/// The first number of an address with the sign behind it, where there is one.
fn head(rest: &str) -> &str {
    let end = rest.find(['.', ':']).map_or(0, |at| if rest[at..].starts_with("::") { at + 2 } else { at + 1 });
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(template: usize) -> String {
        format!("T{template}")
    }

    #[test]
    fn few_clients_are_told_alone_and_many_with_those_that_did_the_same() {
        let mut clients = Clients::default();
        for number in 1..=6 {
            clients.add("192.0.2.1".parse().ok(), 1 + usize::from(number == 6), number);
        }
        clients.add(None, 1, 7);
        let texts: Vec<String> = clients.groups(&title).into_iter().map(|group| group.text).collect();
        assert_eq!(texts, ["192.0.2.1: T1×5 T2 L1-6", "without an address: T1 L7"]);

        let mut clients = Clients::default();
        for number in 0..300u16 {
            clients.add(Some(std::net::IpAddr::from([192, 0, (number / 250) as u8, (number % 250) as u8])), 1, 1);
        }
        let groups = clients.groups(&title);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].text, "each of 192.0.{0.{0-249},1.{0-49}}: T1 L1");
        assert_eq!((groups[0].clients, groups[0].lines, groups[0].shares.len()), (300, 300, 300));
    }

    #[test]
    fn networks_are_written_as_shells_do() {
        let shown = |texts: &[&str]| braces(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(shown(&["192.0.2.1", "192.0.2.3", "192.0.2.4", "198.51.100.7"]), "192.0.2.{1,3,4} 198.51.100.7");
        assert_eq!(shown(&["11.0.2.1", "11.7.8.9", "12.0.0.1"]), "11.{0.2.1,7.8.9} 12.0.0.1");
        assert_eq!(
            shown(&["192.0.2.1", "2001:db8::", "2001:db8::1", "2001:db8:1::1"]),
            "192.0.2.1 2001:{db8::{,1},db8:1::1}"
        );
        assert_eq!(shown(&["2001:db8::3", "2001:db8::4", "2001:db8::ff"]), "2001:db8::{3,4,ff}");
        assert_eq!(shown(&["2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:7"]), "2001:db8:1:2:3:4:5:{6,7}");
    }
}
