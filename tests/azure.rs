//! The Azure responder before a stand-in of Azure Resource Manager.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade::respond::azure::{Azure as Responding, AzureConfig, AzureMode, AzureWaf, Level};
use palisade::respond::{RespondError, Responder};
use serde_json::{Value, json};

use crate::respond::{apply, lift, net, permits_for, targets};
use crate::support::arm::{Azure, Manner, error, policy};
use crate::support::daemon::{Home, eventually};
use crate::support::standin::Answer;

const GROUP: &str = "ipGroups/palisade-block-00";
const RULE: &str = "networkSecurityGroups/web/securityRules/palisade-block-v4";

/// A responder that is started, and what it acts in.
async fn started(mode: AzureMode, change: impl FnOnce(AzureConfig) -> AzureConfig) -> (Azure, Responding) {
    let (azure, config) = Azure::with_lists(|azure| change(azure.config(mode)));
    let mut responder = Responding::new(&config).unwrap();
    responder.start().await.unwrap();
    (azure, responder)
}

fn entries(azure: &Azure) -> Vec<String> {
    serde_json::from_value(azure.resource(GROUP)["properties"]["ipAddresses"].clone()).unwrap()
}

async fn fails(responder: &mut Responding, target: &str) -> RespondError {
    let permits = permits_for([net(target)].into_iter(), 600);
    responder.apply(&permits, palisade::event::Timestamp::now()).await.unwrap_err()
}

#[tokio::test]
async fn what_others_put_there_stays_and_nothing_is_written_without_a_change() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| config).await;
    let others = json!({
        "location": "westeurope", "tags": { "owner": "us" }, "futureField": { "x": [1] },
        "properties": { "ipAddresses": ["192.0.2.1", "10.0.0.1-10.0.0.9"], "firewallPolicies": [{ "id": "p" }] },
    });
    azure.put(GROUP, others.clone());
    apply(&mut responder, &["203.0.113.7", "192.0.2.1/32"], 600).await;
    assert_eq!(entries(&azure), ["192.0.2.1", "10.0.0.1-10.0.0.9", "203.0.113.7"]);
    let now = azure.resource(GROUP);
    for kept in ["/tags", "/futureField", "/properties/firewallPolicies", "/location"] {
        assert_eq!(now.pointer(kept), others.pointer(kept), "{kept}");
    }
    let puts = azure.count("PUT");
    apply(&mut responder, &["203.0.113.7"], 900).await;
    lift(&mut responder, &["203.0.113.99"]).await;
    assert_eq!(azure.count("PUT"), puts, "nothing changed");
    // Somebody takes it away: the next change puts it back.
    azure.put(GROUP, json!({ "location": "x", "properties": { "ipAddresses": ["192.0.2.9"] } }));
    assert!(targets(&mut responder).await.is_empty());
    apply(&mut responder, &["203.0.113.8"], 600).await;
    assert_eq!(entries(&azure), ["192.0.2.9", "192.0.2.1", "203.0.113.7", "203.0.113.8"]);
    lift(&mut responder, &["203.0.113.7", "203.0.113.8", "192.0.2.1"]).await;
    assert_eq!(entries(&azure), ["192.0.2.9"]);
    let conditions = azure.all_requests().into_iter().filter(|request| request.method == "PUT");
    assert!(conditions.map(|put| put.header("if-match").map(str::to_owned)).all(|etag| etag.is_some()));
}

#[tokio::test]
async fn a_restart_lifts_by_name_and_touches_nothing_else() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| config).await;
    apply(&mut responder, &["203.0.113.7", "203.0.113.8"], 600).await;
    let mut again = Responding::new(&azure.config(AzureMode::IpGroup)).unwrap();
    again.start().await.unwrap();
    assert!(targets(&mut again).await.is_empty(), "Azure does not say whose an entry is");
    // The one is in force still, the other has ended meanwhile.
    lift(&mut again, &["203.0.113.8"]).await;
    apply(&mut again, &["203.0.113.7"], 600).await;
    assert_eq!(targets(&mut again).await, ["203.0.113.7/32"]);
    assert_eq!(entries(&azure), ["203.0.113.7"]);
}

#[tokio::test]
async fn a_change_is_done_when_its_operation_has_ended() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| config).await;
    for (last, manner) in [Manner::Operation(3), Manner::Location(3), Manner::Provisioning(3)].into_iter().enumerate() {
        azure.state().manner = manner.clone();
        let target = format!("203.0.113.{last}");
        apply(&mut responder, &[&target], 600).await;
        assert!(entries(&azure).contains(&target), "{manner:?}: it came back before it was in force");
    }
    azure.state().manner = Manner::Fails("IpGroupsPutFailed");
    let error = fails(&mut responder, "203.0.113.77").await.to_string();
    assert!(error.contains("IpGroupsPutFailed") && error.contains("in a failed state"), "{error}");
    azure.state().manner = Manner::Elsewhere;
    let asked = azure.all_requests().len();
    let error = fails(&mut responder, "203.0.113.78").await.to_string();
    assert!(error.contains("192.0.2.1"), "{error}");
    assert_eq!(azure.all_requests().len(), asked + 2, "nobody else is asked, or told the token");
}

#[tokio::test]
async fn an_operation_that_does_not_end_is_given_up() {
    let short = |config| AzureConfig { timeout_secs: 1, ..config };
    let (azure, mut responder) = started(AzureMode::IpGroup, short).await;
    azure.state().manner = Manner::Operation(u32::MAX);
    let began = Instant::now();
    let error = fails(&mut responder, "203.0.113.7").await;
    assert!(matches!(error, RespondError::TimedOut { secs: 1, .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
    // What holds the resource is waited for, to the same deadline.
    let error = fails(&mut responder, "203.0.113.8").await.to_string();
    assert!(error.contains("RetryableErrorDueToAnotherOperation"), "{error}");
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| config).await;
    let html = "<html><body>502 Bad Gateway</body></html>";
    let passing = [
        error(412, "PreconditionFailed", "changed"),
        error(429, "RetryableErrorDueToAnotherOperation", "locked").header("retry-after", "0"),
        error(409, "AnotherOperationInProgress", "locked").header("retry-after", "0"),
        error(503, "ServiceUnavailable", "later").header("retry-after", "0"),
        Answer::text(502, html).header("content-type", "text/html"),
    ];
    for (last, answer) in passing.into_iter().enumerate() {
        let status = answer.status;
        let reads = azure.count("GET");
        azure.fault("PUT", answer);
        apply(&mut responder, &[&format!("203.0.113.{last}")], 600).await;
        assert_eq!(azure.count("GET"), reads + 2, "{status}: it is read again");
    }
    azure.fault("PUT", error(429, "SubscriptionRequestsThrottled", "too many").header("retry-after", "2"));
    let began = Instant::now();
    apply(&mut responder, &["203.0.113.99"], 600).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "Retry-After is obeyed");
    assert_eq!(entries(&azure).len(), 6);
    // Somebody else is faster: what he wrote is kept.
    let theirs = json!({ "location": "x", "properties": { "ipAddresses": ["192.0.2.1"] } });
    azure.state().meanwhile = Some((GROUP.into(), theirs));
    apply(&mut responder, &["203.0.113.100"], 600).await;
    assert!(entries(&azure).contains(&"192.0.2.1".to_owned()));
    assert_eq!(entries(&azure).len(), 8);
}

#[tokio::test]
async fn what_does_not_pass_is_told_with_azures_own_words() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| config).await;
    let denied = "The client does not have authorization to perform action 'Microsoft.Network/ipGroups/write'";
    azure.fault("PUT", error(403, "AuthorizationFailed", denied));
    let said = fails(&mut responder, "203.0.113.7").await.to_string();
    assert!(said.contains("AuthorizationFailed") && said.contains("ipGroups/write") && said.contains("role"), "{said}");
    azure.fault("PUT", error(400, "IpGroupBad", "no\u{1b}[31m"));
    let said = fails(&mut responder, "203.0.113.7").await.to_string();
    assert!(said.contains("IpGroupBad") && !said.contains('\u{1b}'), "{said}");
    let puts = azure.count("PUT");
    azure.fault("GET", error(404, "ResourceNotFound", "gone"));
    let said = fails(&mut responder, "203.0.113.7").await.to_string();
    assert!(said.contains("palisade azure init"), "{said}");
    assert_eq!(azure.count("PUT"), puts, "only `init` makes groups");
    for _ in 0..9 {
        azure.fault("PUT", Answer::text(500, "<html>"));
    }
    let error = fails(&mut responder, "203.0.113.7").await;
    assert!(matches!(error, RespondError::Died { .. }), "nobody knows what was done: {error}");
    assert!(targets(&mut responder).await.is_empty());
}

#[tokio::test]
async fn a_token_is_kept_and_once_replaced_when_it_is_refused() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| config).await;
    apply(&mut responder, &["203.0.113.7"], 600).await;
    let asked = azure.token_requests();
    assert_eq!(asked.len(), 1, "one for all");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert_eq!(asked[0].path, "/t-1/oauth2/v2.0/token");
    assert!(form.contains("client_id=c-1") && form.contains("%2F.default"), "{form}");
    azure.fault("PUT", error(401, "ExpiredAuthenticationToken", "expired"));
    apply(&mut responder, &["203.0.113.8"], 600).await;
    assert_eq!(azure.token_requests().len(), 2);
    azure.state().refuses_tokens = true;
    let said = fails(&mut responder, "203.0.113.9").await.to_string();
    assert!(said.contains("401") && said.contains("ExpiredAuthenticationToken"), "{said}");
    assert_eq!(azure.token_requests().len(), 3, "one new token, no more");
    azure.state().refuses_tokens = false;
    // Shorter than the margin: it is replaced before it ends.
    azure.state().token_secs = 200;
    azure.fault("GET", error(401, "ExpiredAuthenticationToken", "expired"));
    responder.held().await.unwrap();
    let asked = azure.token_requests().len();
    responder.held().await.unwrap();
    assert_eq!(azure.token_requests().len(), asked + 1);
    let wrong = AzureConfig { client_secret: String::from("other").into(), ..azure.config(AzureMode::IpGroup) };
    let said = Responding::new(&wrong).unwrap().start().await.unwrap_err().to_string();
    assert!(said.contains("AADSTS7000215") && !said.contains("other"), "{said}");
}

#[tokio::test]
async fn many_are_spread_over_groups_and_an_overfull_one_is_refused() {
    let (azure, mut responder) = started(AzureMode::IpGroup, |config| AzureConfig { groups: 3, ..config }).await;
    let address = |i: u32| IpNet::from(std::net::IpAddr::from((0x0b00_0000 + i).to_be_bytes()));
    let now = palisade::event::Timestamp::now();
    responder.apply(&permits_for((0..9000).map(address), 600), now).await.unwrap();
    let sizes = |azure: &Azure| -> Vec<usize> {
        let size = |n| {
            azure.resource(&format!("ipGroups/palisade-block-{n:02}"))["properties"]["ipAddresses"]
                .as_array()
                .unwrap()
                .len()
        };
        (0..3).map(size).collect()
    };
    assert_eq!(sizes(&azure).iter().sum::<usize>(), 9000);
    assert!(sizes(&azure).iter().all(|size| (2700..3300).contains(size)), "{:?}", sizes(&azure));
    assert_eq!(responder.held().await.unwrap().len(), 9000);
    let puts = azure.count("PUT");
    lift(&mut responder, &["11.0.0.1"]).await;
    assert_eq!(azure.count("PUT"), puts + 1, "one group changes, the others are not written");
    let more = permits_for((9000..17_000).map(address), 600);
    let error = responder.apply(&more, now).await.unwrap_err();
    assert!(matches!(error, RespondError::Full { limit: 5000 }), "{error}");
    // To let go is always possible.
    lift(&mut responder, &["11.0.0.2", "11.0.0.3", "11.0.0.4", "11.0.0.5", "11.0.0.6"]).await;
    assert!(sizes(&azure).iter().all(|size| *size <= 5000));
}

#[tokio::test]
async fn security_rules_are_one_a_family_and_never_overlap() {
    let (azure, mut responder) = started(AzureMode::Nsg, |config| config).await;
    // The stand-in refuses what Azure refuses: mixed families, overlaps, an empty list.
    apply(&mut responder, &["203.0.113.7", "2001:db8:7::/64", "203.0.113.0/24", "2001:db8:7::1"], 600).await;
    let sources = |azure: &Azure, of: &str| azure.resource(of)["properties"]["sourceAddressPrefixes"].clone();
    assert_eq!(sources(&azure, RULE), json!(["192.0.2.255", "203.0.113.0/24"]));
    assert_eq!(targets(&mut responder).await.len(), 4, "who is in a network that is denied is denied");
    lift(&mut responder, &["203.0.113.0/24"]).await;
    assert_eq!(sources(&azure, RULE), json!(["192.0.2.255", "203.0.113.7"]));
    lift(&mut responder, &["203.0.113.7", "2001:db8:7::/64", "2001:db8:7::1"]).await;
    assert_eq!(azure.resource(RULE)["properties"]["sourceAddressPrefix"], "192.0.2.255");
    // Denying everybody is nobody's wish.
    azure.put(
        RULE,
        json!({ "properties": {
        "access": "Deny", "direction": "Inbound", "sourceAddressPrefix": "*",
    } }),
    );
    let error = fails(&mut responder, "203.0.113.8").await.to_string();
    assert!(error.contains("\"*\""), "{error}");
}

#[tokio::test]
async fn other_rules_of_a_waf_policy_stay() {
    for (waf, of, place) in [
        (AzureWaf::ApplicationGateway, "ApplicationGatewayWebApplicationFirewallPolicies/web", "customRules"),
        (AzureWaf::FrontDoor, "frontDoorWebApplicationFirewallPolicies/web", "customRules/rules"),
    ] {
        let (azure, mut responder) = started(AzureMode::WafPolicy, |config| AzureConfig { waf, ..config }).await;
        let is_front_door = waf == AzureWaf::FrontDoor;
        assert_eq!(responder.takes(&net("2001:db8::1")), is_front_door);
        azure.state().manner = Manner::Location(1);
        let before = azure.resource(of);
        apply(&mut responder, &["203.0.113.7", "2001:db8:7::/64"], 600).await;
        let mut after = azure.resource(of);
        let rules = after.pointer_mut(&format!("/properties/{place}")).unwrap().as_array_mut().unwrap();
        let rule = rules.iter_mut().find(|rule| rule["name"] == "palisadeblock").unwrap();
        let condition = &mut rule["matchConditions"][0];
        let key = if is_front_door { "matchValue" } else { "matchValues" };
        let all = ["192.0.2.255", "203.0.113.7", "2001:db8:7::/64"];
        assert_eq!(condition[key], json!(all[..if is_front_door { 3 } else { 2 }]));
        condition[key] = json!(["192.0.2.255"]);
        after["etag"] = before["etag"].clone();
        assert_eq!(after, before, "nothing but the list changed");
        assert!(responder.manner().sees_clients_behind_proxies);
    }
}

#[tokio::test]
async fn looking_is_cheap() {
    let (azure, mut responder) = started(AzureMode::Nsg, |config| config).await;
    let asked = azure.requests().len();
    for _ in 0..100 {
        responder.check().await.unwrap();
    }
    assert_eq!(azure.requests().len(), asked);
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_way_out() {
    let azure = Azure::start();
    let good = |mode| azure.config(mode);
    for (config, what) in [
        (AzureConfig { subscription: String::new(), ..good(AzureMode::Nsg) }, "subscription"),
        (AzureConfig { resource: String::new(), ..good(AzureMode::Nsg) }, "resource"),
        (AzureConfig { client_secret: Default::default(), ..good(AzureMode::Nsg) }, "AZURE_CLIENT_SECRET"),
        (AzureConfig { resource_group: "a/../b".into(), ..good(AzureMode::Nsg) }, "a/../b"),
        (AzureConfig { endpoint: "http://management.azure.com".into(), ..good(AzureMode::Nsg) }, "https"),
        (AzureConfig { authority: "http://192.0.2.1".into(), ..good(AzureMode::Nsg) }, "https"),
        (
            AzureConfig {
                client_secret: Default::default(),
                client_secret_file: Some("/nowhere".into()),
                ..good(AzureMode::Nsg)
            },
            "/nowhere",
        ),
    ] {
        let error = Responding::new(&config).err().expect(what);
        assert!(matches!(&error, RespondError::Settings(said) if said.contains(what)), "{what}: {error}");
    }
    assert!(Responding::new(&AzureConfig { resource: String::new(), ..good(AzureMode::IpGroup) }).is_ok());
}

#[tokio::test]
async fn init_makes_what_is_missing_and_check_says_what_is_wrong() {
    let azure = Azure::start();
    azure.put("firewallPolicies/web", json!({ "location": "westeurope", "properties": {} }));
    let config = AzureConfig { groups: 2, ..azure.config(AzureMode::IpGroup) };
    let mut responder = Responding::new(&config).unwrap();
    let problems = |notes: &[palisade::respond::azure::Note], level: Level| -> Vec<String> {
        notes.iter().filter(|note| note.level == level).map(|note| note.text.clone()).collect()
    };
    assert_eq!(problems(&responder.inspect().await, Level::Problem).len(), 4, "two groups, and no rule for each");
    let planned = responder.init(true).await.unwrap();
    assert_eq!((planned.len(), azure.count("PUT")), (3, 0));
    assert!(
        planned[2].contains("ruleCollectionGroups/palisade-block?") && planned[2].contains("\"Deny\""),
        "{}",
        planned[2]
    );
    assert_eq!(responder.init(false).await.unwrap().len(), 3);
    assert_eq!(responder.init(false).await.unwrap().len(), 0, "once is enough");
    assert_eq!(problems(&responder.inspect().await, Level::Problem), [""; 0]);
    assert_eq!(problems(&responder.inspect().await, Level::Warning), [""; 0]);
    apply(&mut responder, &["203.0.113.7"], 600).await;
    // One group more: the rule that is there learns of it.
    let mut more = Responding::new(&AzureConfig { groups: 3, ..config.clone() }).unwrap();
    assert_eq!(more.init(false).await.unwrap().len(), 2);
    let rule = azure.resource("firewallPolicies/web/ruleCollectionGroups/palisade-block");
    let sources = rule.pointer("/properties/ruleCollections/0/rules/0/sourceIpGroups").unwrap();
    assert_eq!(sources.as_array().unwrap().len(), 3);

    azure.put(
        "firewallPolicies/web/ruleCollectionGroups/dnat",
        json!({ "properties": { "ruleCollections": [{
        "ruleCollectionType": "FirewallPolicyNatRuleCollection", "name": "publish", "rules": [],
    }] } }),
    );
    azure.state().actions = vec!["*/read".into()];
    let notes = responder.inspect().await;
    let warned = problems(&notes, Level::Warning);
    assert!(warned[0].contains("publish") && warned[0].contains("DNAT") && warned[0].contains("nsg"), "{warned:?}");
    assert_eq!(problems(&notes, Level::Problem), ["the role of who signs in lacks Microsoft.Network/ipGroups/write"]);
}

#[tokio::test]
async fn init_adds_rules_to_what_must_be_there_already() {
    let azure = Azure::start();
    let of = "ApplicationGatewayWebApplicationFirewallPolicies/web";
    let mut waf = Responding::new(&azure.config(AzureMode::WafPolicy)).unwrap();
    let error = waf.init(false).await.unwrap_err().to_string();
    assert!(error.contains("no WAF policy \"web\""), "{error}");
    azure.put(of, policy(AzureWaf::ApplicationGateway, false));
    assert_eq!(waf.init(false).await.unwrap().len(), 1);
    assert_eq!(azure.resource(of)["properties"]["customRules"].as_array().unwrap().len(), 2);
    let fine = |notes: &[palisade::respond::azure::Note]| notes.iter().all(|note| note.level == Level::Ok);
    assert!(fine(&waf.inspect().await), "{:?}", waf.inspect().await);
    let mut idle = policy(AzureWaf::ApplicationGateway, true);
    idle["properties"]["policySettings"]["mode"] = json!("Detection");
    idle["properties"]["applicationGateways"] = json!([]);
    azure.put(of, idle);
    let said = format!("{:?}", waf.inspect().await);
    assert!(said.contains("detection mode") && said.contains("in use nowhere"), "{said}");
    azure.put("frontDoorWebApplicationFirewallPolicies/web", policy(AzureWaf::FrontDoor, false));
    let front = AzureConfig { waf: AzureWaf::FrontDoor, ..azure.config(AzureMode::WafPolicy) };
    let mut front = Responding::new(&front).unwrap();
    let sent = front.init(false).await.unwrap();
    assert!(sent.len() == 1 && sent[0].contains("SocketAddr"), "not what a client may write: {sent:?}");
    assert!(fine(&front.inspect().await), "{:?}", front.inspect().await);

    let mut nsg = Responding::new(&azure.config(AzureMode::Nsg)).unwrap();
    assert_eq!(nsg.init(false).await.unwrap().len(), 2);
    let v6 = azure.resource("networkSecurityGroups/web/securityRules/palisade-block-v6");
    assert_eq!(v6["properties"]["priority"], 101);
    azure.put(
        "networkSecurityGroups/web",
        json!({ "properties": { "subnets": [], "securityRules": [
        { "name": "web", "properties": { "access": "Allow", "direction": "Inbound", "priority": 100 } },
        { "name": "palisade-block-v6", "properties": { "access": "Deny", "direction": "Inbound", "priority": 101 } },
    ] } }),
    );
    let said = format!("{:?}", nsg.inspect().await);
    assert!(said.contains("no subnet") && said.contains("rule web allows before"), "{said}");
}

fn settings(azure: &Azure, mode: &str, rest: &str) -> String {
    format!(
        "mode = \"enforce\"\n[respond]\nuse = [\"azure\"]\n[respond.azure]\nmode = \"{mode}\"\nresource_group = \"rg\"\n\
         resource = \"web\"\nbatch_secs = 1\nendpoint = \"{0}\"\nauthority = \"{0}\"\n{rest}",
        azure.url()
    )
}

#[test]
fn a_ban_is_pending_until_azure_has_it_and_ipv6_waits_for_nobody() {
    let (azure, _) = Azure::with_lists(|azure| azure.config(AzureMode::IpGroup));
    azure.state().manner = Manner::Operation(8);
    let mut home = Home::new();
    home.set("AZURE_SUBSCRIPTION_ID", "s-1");
    home.set("AZURE_TENANT_ID", "t-1");
    home.set("AZURE_CLIENT_ID", "c-1");
    home.set("AZURE_CLIENT_SECRET", "hush");
    std::fs::write(home.path("access.log"), "").unwrap();
    let source = format!("[[source]]\npath = \"{}\"\nformat = \"nginx_combined\"\n", home.path("access.log").display());
    home.configure(&settings(&azure, "ip_group", &source));
    let mut daemon = home.start();
    let v4 = home.json(&["ban", "203.0.113.7"]);
    let v6 = home.json(&["ban", "2001:db8:9::/48"]);
    assert_eq!(v4["state"], "pending", "{v4}");
    let state = |id: &Value| home.decisions().into_iter().find(|row| row["id"] == *id).map(|row| row["state"].clone());
    eventually("Azure holds the one, and nobody waits for the other", || {
        (state(&v4["id"]) == Some("active".into()) && state(&v6["id"]) == Some("active".into())).then_some(())
    });
    assert_eq!(entries(&azure), ["203.0.113.7"]);
    assert_eq!(home.status()["responders"][0]["not_taken"], 1);
    daemon.says("no place for such targets");
    azure.state().manner = Manner::AtOnce;
    home.json(&["unban", "--all"]);
    eventually("both are let go", || entries(&azure).is_empty().then_some(()));
    assert_eq!(daemon.stop(), 0);
    assert!(!home.palisade(&["config", "show"]).stdout.contains("hush"));
}

#[test]
fn machines_and_people_sign_in_too() {
    let (azure, _) = Azure::with_lists(|azure| azure.config(AzureMode::Nsg));
    azure
        .put("networkSecurityGroups/web", json!({ "properties": { "subnets": [{ "id": "x" }], "securityRules": [] } }));
    let mut machine = Home::new();
    machine.configure(&settings(&azure, "nsg", "subscription = \"s-1\"\ncredential = \"managed_identity\"\n"));
    machine.set("IDENTITY_ENDPOINT", format!("{}/msi/token", azure.url()));
    machine.set("IDENTITY_HEADER", "ssh");
    let ran = machine.palisade(&["azure", "check"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(azure.token_requests()[0].path.contains("resource="), "{}", azure.token_requests()[0].path);

    let mut person = Home::new();
    person.configure(&settings(&azure, "nsg", "subscription = \"s-1\"\ncredential = \"azure_cli\"\n"));
    let az = person.path("az");
    let expires = palisade::event::Timestamp::now().plus_secs(3600).0 / 1000;
    let said = json!({ "accessToken": "token-0", "expires_on": expires, "tokenType": "Bearer" });
    std::fs::write(&az, format!("#!/bin/sh\necho asked >> {}\necho '{said}'\n", person.path("asked").display()))
        .unwrap();
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
    person.set("PATH", format!("{}:/usr/bin:/bin", person.dir().display()));
    let ran = person.palisade(&["azure", "check", "--output", "jsonl"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(std::fs::read_to_string(person.path("asked")).unwrap().lines().count(), 1, "the token is kept");
    assert!(
        ran.stdout.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["level"] == "ok"),
        "{}",
        ran.stdout
    );

    azure.state().actions = vec![];
    assert_eq!(person.palisade(&["azure", "check"]).code, 1);
    let planned = machine.palisade(&["azure", "init", "--dry-run"]);
    assert_eq!((planned.code, &*planned.stdout), (0, "All is there.\n"), "{}", planned.stderr);
}
