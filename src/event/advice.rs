use super::Category;

impl Category {
    /// What an operator should look at after such an attack, besides having blocked the client.
    pub fn advice(self) -> &'static str {
        use Category::*;
        match self {
            Sqli | Nosqli | LdapInjection => {
                "Look in the database's own log for this request; see that the parameter goes through a prepared statement."
            }
            Xss => "See that the page escapes this parameter; a Content-Security-Policy limits what is left.",
            PathTraversal | SensitiveFile | FileInclusion => {
                "See whether the file named here exists and what was sent of it; if it holds secrets, change them."
            }
            Ssrf | Xxe => {
                "See in the logs of internal services, and of the cloud's metadata address, whether this host asked them then."
            }
            CommandInjection | CodeInjection | TemplateInjection | Deserialization | Log4shell | Shellshock
            | KnownExploit => {
                "Look for processes, files and outgoing connections of the web server's user that began then; update the software named here."
            }
            Webshell | Malware | C2 | Cryptomining | PrivilegeEscalation => {
                "Take this host off the network, keep its disk and memory for analysis, and look for how it came in."
            }
            Exfiltration => "Find out what was sent, to whom, and who must be told.",
            Bruteforce | CredentialStuffing => {
                "See whether a login of this client succeeded; if so, end its sessions and change that password. A second factor ends the rest."
            }
            Scanner | AdminProbe | PortScan => {
                "See which of the paths or ports it asked for exist; close those that need not be open to all."
            }
            Flood | CrawlAbuse | ApiAbuse | GraphqlAbuse => {
                "See what each request costs; a cache or the web server's own rate limit helps against many clients."
            }
            OpenRedirect => "See that redirects go to your own hosts alone.",
            ProtocolAbuse | PrototypePollution | Other => {
                "Look at the lines: rules found no more than the form of them."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_a_sentence_for_each() {
        for category in Category::ALL {
            let advice = category.advice();
            assert!(advice.ends_with('.') && advice.len() > 30, "{category}: {advice}");
        }
    }
}
