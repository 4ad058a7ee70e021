use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! categories {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// What kind of attack a finding is: a closed set, the same in rules, stores and metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Category { $(#[serde(rename = $name)] $variant),* }

        impl Category {
            /// Every category, in a fixed order.
            pub const ALL: &[Category] = &[$(Category::$variant),*];

            /// The name used in rules, stores and output.
            pub fn as_str(self) -> &'static str {
                match self { $(Category::$variant => $name),* }
            }
        }
    };
}

categories! {
    Sqli = "sqli", Xss = "xss", PathTraversal = "path_traversal", SensitiveFile = "sensitive_file",
    Nosqli = "nosqli", Ssrf = "ssrf", CommandInjection = "command_injection", FileInclusion = "file_inclusion",
    CodeInjection = "code_injection", TemplateInjection = "template_injection", Deserialization = "deserialization",
    Xxe = "xxe", LdapInjection = "ldap_injection", Log4shell = "log4shell", Shellshock = "shellshock",
    Webshell = "webshell", Scanner = "scanner", AdminProbe = "admin_probe", Bruteforce = "bruteforce",
    CredentialStuffing = "credential_stuffing", Flood = "flood", CrawlAbuse = "crawl_abuse",
    ProtocolAbuse = "protocol_abuse", OpenRedirect = "open_redirect", PrototypePollution = "prototype_pollution",
    GraphqlAbuse = "graphql_abuse", KnownExploit = "known_exploit", ApiAbuse = "api_abuse",
    Exfiltration = "exfiltration", Malware = "malware", C2 = "c2", Cryptomining = "cryptomining",
    PrivilegeEscalation = "privilege_escalation", PortScan = "port_scan", Other = "other",
}

impl Category {
    /// The category called `name`.
    pub fn parse(name: &str) -> Option<Category> {
        Category::ALL.iter().copied().find(|category| category.as_str() == name)
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
