//! One story over every responder, then what each backend really does.

mod cloudflare;
mod command;
mod nginx;
mod together;
mod webhook;

mod kernel;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade::decide::{Blasts, Limits, Permit, Surroundings, gate};
use palisade::event::{Ground, Proposal, Proposer, Timestamp};
use palisade::respond::{Backend, Iptables, IptablesConfig, KINDS, Nftables, RespondConfig, RespondError, Responder};

use crate::support::cloudflare::Cloud;
use crate::support::{Namespace, namespaces_or_skip};

/// A responder that a test may drive, and what it acts in, if it acts.
struct Subject {
    responder: Box<dyn Responder>,
    /// As many targets as there is surely room for.
    room: usize,
    /// What it needs besides: a namespace, a server, a directory. Gone with it.
    _backend: Option<Box<dyn std::any::Any>>,
}

impl Subject {
    fn new(responder: Box<dyn Responder>) -> Subject {
        Subject { responder, room: usize::MAX, _backend: None }
    }
}

/// Every registered responder, started, each with nothing held.
async fn subjects(test: &str) -> Vec<Subject> {
    let mut subjects = vec![];
    for kind in KINDS {
        let of_kind = match kind.name {
            "dry_run" => vec![Subject::new((kind.build)(&RespondConfig::default()).unwrap())],
            "nftables" if namespaces_or_skip(test) => {
                let namespace = Namespace::new();
                let responder = Box::new(nftables(&namespace));
                vec![Subject { _backend: Some(Box::new(namespace)), ..Subject::new(responder) }]
            }
            "iptables" if namespaces_or_skip(test) => {
                let namespace = Namespace::new();
                let responder = Box::new(iptables(&namespace, Backend::Legacy));
                vec![Subject { _backend: Some(Box::new(namespace)), ..Subject::new(responder) }]
            }
            "nginx" if namespaces_or_skip(test) => {
                let site = nginx::Site::start("include DIR/palisade.conf;");
                let config = RespondConfig { nginx: site.config(), ..RespondConfig::default() };
                vec![Subject { _backend: Some(Box::new(site)), ..Subject::new((kind.build)(&config).unwrap()) }]
            }
            "cloudflare" => {
                let cloud = Cloud::start();
                let config = RespondConfig { cloudflare: cloud.config(), ..RespondConfig::default() };
                vec![Subject { _backend: Some(Box::new(cloud)), ..Subject::new((kind.build)(&config).unwrap()) }]
            }
            "command" => {
                let recorder = command::Recorder::new();
                let config = RespondConfig { command: recorder.batch(), ..RespondConfig::default() };
                vec![Subject { _backend: Some(Box::new(recorder)), ..Subject::new((kind.build)(&config).unwrap()) }]
            }
            "webhook" => {
                let receiver = webhook::receiver();
                let config = RespondConfig { webhook: webhook::config(&receiver), ..RespondConfig::default() };
                vec![Subject { _backend: Some(Box::new(receiver)), ..Subject::new((kind.build)(&config).unwrap()) }]
            }
            "nftables" | "iptables" | "nginx" => continue,
            #[cfg(feature = "azure")]
            "azure" => azure(kind.build),
            #[cfg(not(feature = "azure"))]
            "azure" => {
                let error = (kind.build)(&RespondConfig::default()).err().unwrap();
                assert!(error.to_string().contains("built without Azure"), "{error}");
                continue;
            }
            other => panic!("responder {other}: say here where the contract tests may run it"),
        };
        for mut subject in of_kind {
            assert_eq!(subject.responder.name(), kind.name);
            subject.responder.start().await.unwrap();
            subjects.push(subject);
        }
    }
    if namespaces_or_skip(test) {
        let namespace = Namespace::new();
        let mut responder = Box::new(iptables(&namespace, Backend::Nft));
        responder.start().await.unwrap();
        subjects.push(Subject { _backend: Some(Box::new(namespace)), ..Subject::new(responder) });
    }
    subjects
}

fn iptables(namespace: &Namespace, backend: Backend) -> Iptables {
    Iptables::with_prefix(IptablesConfig { backend }, namespace.command(&[]))
}

/// One for each kind of list, before a stand-in of Azure.
#[cfg(feature = "azure")]
fn azure(build: palisade::respond::Build) -> Vec<Subject> {
    use palisade::respond::azure::{AzureConfig, AzureMode, AzureWaf};

    use crate::support::arm::Azure;

    let modes = [
        (AzureMode::IpGroup, AzureWaf::FrontDoor, 5000),
        (AzureMode::Nsg, AzureWaf::FrontDoor, 4000),
        (AzureMode::WafPolicy, AzureWaf::ApplicationGateway, 599),
        (AzureMode::WafPolicy, AzureWaf::FrontDoor, 599),
    ];
    let subject = |(mode, waf, room)| {
        let (azure, config) = Azure::with_lists(|azure| AzureConfig { waf, groups: 2, ..azure.config(mode) });
        let responder = build(&RespondConfig { azure: config, ..RespondConfig::default() }).unwrap();
        Subject { room, _backend: Some(Box::new(azure)), ..Subject::new(responder) }
    };
    modes.map(subject).into()
}

fn nftables(namespace: &Namespace) -> Nftables {
    Nftables::with_command(namespace.command(&["nft"]))
}

async fn started(namespace: &Namespace) -> Nftables {
    let mut responder = nftables(namespace);
    responder.start().await.unwrap();
    responder
}

pub fn net(text: &str) -> IpNet {
    text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into())).unwrap()
}

/// Permits for `secs` from now, by way of the gate: there is no other.
fn permits(targets: &[&str], secs: u64) -> Vec<Permit> {
    permits_for(targets.iter().map(|target| net(target)), secs)
}

pub fn permits_for(targets: impl Iterator<Item = IpNet>, secs: u64) -> Vec<Permit> {
    let now = Timestamp::now();
    let surroundings = Surroundings { taken_at: now, ..Surroundings::default() };
    let permit = |target: IpNet| {
        let proposal = Proposal {
            id: target.to_string(),
            target,
            proposer: Proposer::Operator,
            ground: Ground::default(),
            at: now,
            duration_secs: secs,
            offences: 0,
        };
        gate(&proposal, &surroundings, &mut Blasts::default(), &Limits::NONE, now).unwrap()
    };
    targets.map(permit).collect()
}

pub async fn apply(responder: &mut dyn Responder, targets: &[&str], secs: u64) {
    responder.apply(&permits(targets, secs), Timestamp::now()).await.unwrap();
}

/// Of `shown`, what the backend has a place for.
fn taken<'a>(responder: &dyn Responder, shown: &[&'a str]) -> Vec<&'a str> {
    shown.iter().copied().filter(|target| responder.takes(&net(target))).collect()
}

pub async fn lift(responder: &mut dyn Responder, targets: &[&str]) {
    let targets: Vec<IpNet> = targets.iter().map(|target| net(target)).collect();
    responder.lift(&targets).await.unwrap();
}

/// What is held, and for how many seconds more.
async fn held(responder: &mut dyn Responder) -> BTreeMap<String, u64> {
    let held = responder.held().await.unwrap();
    let count = held.len();
    let held: BTreeMap<_, _> = held.into_iter().map(|held| (held.target.to_string(), held.remaining_secs)).collect();
    assert_eq!(held.len(), count, "no target twice");
    held
}

pub async fn targets(responder: &mut dyn Responder) -> Vec<String> {
    held(responder).await.into_keys().collect()
}

#[tokio::test]
async fn targets_of_every_kind_are_held_until_their_end_or_until_lifted() {
    for mut subject in subjects("the responders' contract").await {
        let responder = &mut *subject.responder;
        assert!(held(responder).await.is_empty());
        // The networks overlap each other and the address.
        let all =
            ["198.51.100.7", "198.51.100.0/24", "198.51.0.0/16", "2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::5"];
        apply(responder, &all, 600).await;
        let shown = [
            "198.51.0.0/16",
            "198.51.100.0/24",
            "198.51.100.7/32",
            "2001:db8:1:2::/64",
            "2001:db8:1::/48",
            "2001:db8::5/128",
        ];
        assert_eq!(targets(responder).await, taken(responder, &shown), "{}", responder.name());
        for (target, secs) in held(responder).await {
            assert!((570..=600).contains(&secs), "{target}: {secs} s");
        }
        // Exactly the lifted ones go, whatever they overlap; missing ones are fine.
        lift(responder, &["198.51.100.0/24", "2001:db8:1:2::/64", "203.0.113.99", "203.0.112.0/23"]).await;
        let left = ["198.51.0.0/16", "198.51.100.7/32", "2001:db8:1::/48", "2001:db8::5/128"];
        assert_eq!(targets(responder).await, taken(responder, &left));
        lift(responder, &all).await;
        lift(responder, &all).await;
        lift(responder, &[]).await;
        responder.apply(&[], Timestamp::now()).await.unwrap();
        assert!(held(responder).await.is_empty());
    }
}

#[tokio::test]
async fn a_target_held_already_gets_the_new_end_be_it_sooner_or_later() {
    for mut subject in subjects("the responders' contract").await {
        let responder = &mut *subject.responder;
        for secs in [600, 7200, 60] {
            // Once more in the same call, as two findings of one batch would.
            apply(responder, &["203.0.113.7", "2001:db8:7::/64", "203.0.113.7"], secs).await;
            let held = held(responder).await;
            let both = taken(responder, &["2001:db8:7::/64", "203.0.113.7/32"]);
            assert_eq!(held.keys().collect::<Vec<_>>(), both, "{}", responder.name());
            assert!(held.values().all(|left| (secs - 30..=secs).contains(left)), "{secs}: {held:?}");
        }
        let late = Timestamp::now().plus_secs(3600);
        responder.apply(&permits(&["203.0.113.7", "203.0.113.8"], 600), late).await.unwrap();
        assert_eq!(targets(responder).await, taken(responder, &["2001:db8:7::/64"]), "what has ended is let go");
        apply(responder, &["203.0.113.9"], u64::MAX / 1_000_000).await;
        let both = taken(responder, &["2001:db8:7::/64", "203.0.113.9/32"]);
        assert_eq!(targets(responder).await, both, "an end far away is no error");
    }
}

#[tokio::test]
async fn a_ban_ends_by_itself() {
    for mut subject in subjects("the responders' contract").await {
        let responder = &mut *subject.responder;
        apply(responder, &["203.0.113.8", "2001:db8:8::/64", "203.0.114.0/24"], 600).await;
        apply(responder, &["203.0.113.7", "2001:db8:7::/64", "203.0.113.0/24"], 1).await;
        let lasting = taken(responder, &["2001:db8:8::/64", "203.0.113.8/32", "203.0.114.0/24"]);
        assert_eq!(targets(responder).await.len(), lasting.len() * 2, "{}", responder.name());
        let deadline = Instant::now() + Duration::from_secs(20);
        while targets(responder).await.len() > lasting.len() {
            if !responder.manner().ends_bans {
                // As its task does.
                let over = responder.held().await.unwrap().into_iter().filter(|held| held.remaining_secs == 0);
                let over: Vec<IpNet> = over.map(|held| held.target).collect();
                responder.lift(&over).await.unwrap();
            }
            assert!(Instant::now() < deadline, "{}: {:?}", responder.name(), held(responder).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(targets(responder).await, lasting);
    }
}

#[tokio::test]
async fn neither_starting_again_nor_the_allowlist_changes_what_is_held() {
    for mut subject in subjects("the responders' contract").await {
        let responder = &mut *subject.responder;
        apply(responder, &["203.0.113.7", "198.51.100.0/24"], 600).await;
        let lists: [&[&str]; 4] = [
            &["203.0.113.7", "203.0.113.0/24", "2001:db8::/32", "2001:db8:1::/48"],
            &["0.0.0.0/0", "::/0"],
            &["192.0.2.9"],
            &[],
        ];
        for list in lists {
            let networks: Vec<IpNet> = list.iter().map(|network| net(network)).collect();
            responder.allow(&networks).await.unwrap();
            responder.start().await.unwrap();
            assert_eq!(
                targets(responder).await,
                ["198.51.100.0/24", "203.0.113.7/32"],
                "{}: {list:?}",
                responder.name()
            );
        }
    }
}

#[tokio::test]
async fn thousands_go_at_once() {
    let many = |i: u32| match i % 10 {
        0 => IpNet::new(std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(i) << 64)).into(), 64).unwrap(),
        1 => IpNet::new(std::net::Ipv4Addr::from(0x0c00_0000 + i * 256).into(), 24).unwrap(),
        _ => IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + i * 7))),
    };
    for mut subject in subjects("the responders' contract").await {
        let responder = &mut *subject.responder;
        let count = u32::try_from(subject.room).map_or(5000, |room| room.min(5000));
        let permits = permits_for((0..count).map(many).filter(|target| responder.takes(target)), 600);
        for _ in 0..2 {
            responder.apply(&permits, Timestamp::now()).await.unwrap();
            assert_eq!(held(responder).await.len(), permits.len(), "{}", responder.name());
        }
        let all: Vec<IpNet> = (0..5001).map(many).collect();
        responder.lift(&all).await.unwrap();
        assert!(held(responder).await.is_empty());
    }
}

#[tokio::test]
async fn one_at_a_time_goes_on_and_on() {
    for mut subject in subjects("the responders' contract").await {
        let responder = &mut *subject.responder;
        // More than one interactive nft is given.
        let count = if responder.manner().is_quick { 600 } else { 20 };
        for i in 0..count as u32 {
            let target = IpNet::from(std::net::IpAddr::from((0x0b00_0000 + i).to_be_bytes()));
            responder.apply(&permits_for([target].into_iter(), 600), Timestamp::now()).await.unwrap();
        }
        assert_eq!(held(responder).await.len(), count);
    }
}

#[tokio::test]
async fn bans_in_the_kernel_survive_the_responder() {
    if !namespaces_or_skip("a restart of the nftables responder") {
        return;
    }
    let namespace = Namespace::new();
    let all = ["198.51.0.0/16", "198.51.100.7/32", "2001:db8:1:2::/64", "2001:db8:1::/48"];
    apply(&mut started(&namespace).await, &all, 600).await;
    let mut again = started(&namespace).await;
    assert_eq!(targets(&mut again).await, all);
    lift(&mut again, &["198.51.0.0/16", "2001:db8:1::/48"]).await;
    assert_eq!(targets(&mut again).await, ["198.51.100.7/32", "2001:db8:1:2::/64"]);
}

#[tokio::test]
async fn a_killed_nft_is_replaced_without_anyone_noticing() {
    if !namespaces_or_skip("the supervision of nft") {
        return;
    }
    let namespace = Namespace::new();
    let mut responder = started(&namespace).await;
    for i in 0..5 {
        apply(&mut responder, &[&format!("203.0.113.{i}")], 600).await;
        let pids = std::process::Command::new("ip").args(["netns", "pids", &namespace.name]).output().unwrap();
        let pids = String::from_utf8(pids.stdout).unwrap();
        assert_eq!(pids.lines().count(), 1, "one nft at a time: {pids}");
        let pid = nix::unistd::Pid::from_raw(pids.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    assert_eq!(held(&mut responder).await.len(), 5);
}

#[tokio::test]
async fn a_dropped_call_leaves_a_responder_that_works() {
    if !namespaces_or_skip("the cancellation of nftables calls") {
        return;
    }
    let namespace = Namespace::new();
    let mut responder = started(&namespace).await;
    for i in 0..100u64 {
        let permits = permits(&["203.0.113.1", "203.0.113.2"], 600);
        let call = responder.apply(&permits, Timestamp::now());
        let _ = tokio::time::timeout(Duration::from_micros(i * 20), call).await;
    }
    apply(&mut responder, &["203.0.113.3"], 600).await;
    lift(&mut responder, &["203.0.113.1", "203.0.113.2"]).await;
    assert_eq!(targets(&mut responder).await, ["203.0.113.3/32"]);
}

#[tokio::test]
async fn a_flushed_firewall_is_noticed_and_made_again() {
    if !namespaces_or_skip("the loss of the nftables table") {
        return;
    }
    let namespace = Namespace::new();
    let mut responder = started(&namespace).await;
    apply(&mut responder, &["203.0.113.7"], 600).await;
    namespace.run("nft flush ruleset");
    let permits = permits(&["203.0.113.7"], 600);
    for error in [
        responder.apply(&permits, Timestamp::now()).await.unwrap_err(),
        responder.held().await.unwrap_err(),
        responder.lift(&[net("203.0.113.7")]).await.unwrap_err(),
        responder.allow(&[net("192.0.2.1")]).await.unwrap_err(),
    ] {
        assert!(matches!(error, RespondError::Lost), "{error}");
    }
    responder.start().await.unwrap();
    responder.apply(&permits, Timestamp::now()).await.unwrap();
    assert_eq!(targets(&mut responder).await, ["203.0.113.7/32"]);
}

#[tokio::test]
async fn a_full_set_refuses_whole_calls_and_still_lets_go() {
    if !namespaces_or_skip("a full nftables set") {
        return;
    }
    let namespace = Namespace::new();
    let mut responder = started(&namespace).await;
    let address = |i: u32| IpNet::from(std::net::IpAddr::from((0x0b00_0000 + i).to_be_bytes()));
    responder.apply(&permits_for((0..131_072).map(address), 600), Timestamp::now()).await.unwrap();
    let error = responder.apply(&permits(&["203.0.113.7", "2001:db8::/64"], 600), Timestamp::now()).await.unwrap_err();
    assert!(matches!(error, RespondError::Full { limit: 131_072 }), "{error}");
    assert_eq!(held(&mut responder).await.len(), 131_072, "nothing of a refused call is in force");
    lift(&mut responder, &["11.0.0.1", "203.0.113.9", "11.0.0.2"]).await;
    apply(&mut responder, &["203.0.113.7"], 600).await;
    assert_eq!(held(&mut responder).await.len(), 131_071);
}

/// A server in one namespace; a client in another, by cable.
struct Wire {
    server: Namespace,
    client: Namespace,
}

impl Wire {
    const SERVER: [&str; 2] = ["198.51.100.1:8080", "[2001:db8:a::1]:8080"];
    /// The client's second IPv6 address lies in another /64.
    const CLIENT: [&str; 4] = ["198.51.100.2/24", "198.51.100.3/24", "2001:db8:a::2/48", "2001:db8:a:b::2/48"];

    fn new() -> Wire {
        let wire = Wire { server: Namespace::new(), client: Namespace::new() };
        Namespace::join((&wire.server, &["198.51.100.1/24", "2001:db8:a::1/48"]), (&wire.client, &Wire::CLIENT));
        for address in Wire::SERVER {
            serve(&wire.server, address);
        }
        wire
    }

    /// An open connection from the client's address `from`, if the server lets it.
    fn connect(&self, from: &str) -> Option<TcpStream> {
        self.connect_to(8080, from)
    }

    fn connect_to(&self, port: u16, from: &str) -> Option<TcpStream> {
        let mut server: SocketAddr = Wire::SERVER[usize::from(from.contains(':'))].parse().unwrap();
        server.set_port(port);
        let from: std::net::IpAddr = from.parse().unwrap();
        self.client.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = match server {
                    SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                    SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
                };
                let socket = socket.unwrap();
                socket.bind((from, 0).into()).unwrap();
                // A SYN that is lost is sent again after one second. On a cable like this one the
                // client's neighbour discovery is lost too: after a while it says "no route".
                let stream = tokio::time::timeout(Duration::from_millis(700), socket.connect(server)).await;
                let stream = stream.ok()?.ok()?.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
                Some(stream)
            })
        })
    }

    fn connects(&self, from: &str) -> bool {
        self.connect(from).is_some_and(|mut stream| answers(&mut stream))
    }
}

/// Echoes what is sent to `address`, until the test process ends.
fn serve(namespace: &Namespace, address: &'static str) {
    let listener = namespace.inside(move || TcpListener::bind(address)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream));
        }
    });
}

fn echo(mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn answers(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}

#[tokio::test]
async fn the_kernel_drops_who_is_held_and_nobody_else() {
    if !namespaces_or_skip("the kernel's drops") {
        return;
    }
    for make in kernel::MAKERS {
        let wire = Wire::new();
        let mut responder = make(&wire.server);
        responder.start().await.unwrap();
        shuts_out_who_is_held(&wire, &mut *responder).await;
    }
}

async fn shuts_out_who_is_held(wire: &Wire, responder: &mut dyn Responder) {
    for (target, from, neighbour) in [
        ("198.51.100.2", "198.51.100.2", "198.51.100.3"),
        ("198.51.100.2/31", "198.51.100.2", "2001:db8:a::2"),
        ("2001:db8:a::/64", "2001:db8:a::2", "2001:db8:a:b::2"),
        ("2001:db8:a:b::/65", "2001:db8:a:b::2", "2001:db8:a::2"),
        ("2001:db8:a::2", "2001:db8:a::2", "2001:db8:a:b::2"),
        ("2001:db8:a:a::/63", "2001:db8:a:b::2", "2001:db8:a::2"),
    ] {
        let mut open = wire.connect(from).unwrap();
        assert!(answers(&mut open), "{target}: open before");
        apply(responder, &[target], 600).await;
        assert!(!answers(&mut open), "{target}: the connection that was open is shut");
        assert!(!wire.connects(from), "{target}: held");
        assert!(wire.connects(neighbour), "{target}: the neighbour never notices");
        responder.allow(&[net(from)]).await.unwrap();
        assert!(wire.connects(from), "{target}: the allowed pass though held");
        responder.allow(&[]).await.unwrap();
        assert!(!wire.connects(from), "{target}: held again");
        lift(responder, &[target]).await;
        assert!(wire.connects(from), "{target}: lifted");
    }
}

#[tokio::test]
async fn the_kernel_lets_go_by_itself_when_nobody_is_there_any_more() {
    if !namespaces_or_skip("expiry in the kernel") {
        return;
    }
    let wire = Wire::new();
    let mut responder = started(&wire.server).await;
    for from in ["198.51.100.2", "2001:db8:a::2"] {
        assert!(wire.connects(from), "{from}: open before");
    }
    apply(&mut responder, &["198.51.100.2", "2001:db8:a::/64"], 3).await;
    drop(responder);
    for from in ["198.51.100.2", "2001:db8:a::2"] {
        assert!(!wire.connects(from), "{from}: held without us");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    for from in ["198.51.100.2", "2001:db8:a::2"] {
        while !wire.connects(from) {
            assert!(Instant::now() < deadline, "{from}: still shut out");
        }
    }
}
