//! Every format by its name.

use super::{Format, access, couchdb, csv, json, message, template, uvicorn, w3c};

/// Every format. Where several understand a line, the first is taken.
pub static KINDS: &[Format] = &[
    Format {
        name: "nginx_combined",
        summary: "nginx's default access log",
        example: r#"203.0.113.7 - alice [05/Jan/2026:12:30:45 +0100] "GET /a?b=c HTTP/1.1" 200 612 "https://example.org/" "Mozilla/5.0""#,
        build: &access::COMBINED,
    },
    Format {
        name: "nginx_main",
        summary: "nginx's combined log and X-Forwarded-For in quotes; never learned, since the last field might be another header",
        example: r#"203.0.113.7 - alice [05/Jan/2026:12:30:45 +0100] "GET /a?b=c HTTP/1.1" 200 612 "https://example.org/" "Mozilla/5.0" "198.51.100.1""#,
        build: &access::MAIN,
    },
    Format {
        name: "apache_combined",
        summary: "Apache's combined log",
        example: r#"203.0.113.7 - alice [05/Jan/2026:12:30:45 +0100] "GET /\" HTTP/1.1" 200 612 "-" "Mozilla/5.0 \"x\"""#,
        build: &access::COMBINED,
    },
    Format {
        name: "apache_common",
        summary: "Apache's common log (CLF): no referrer, no user agent",
        example: r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0100] "GET /a HTTP/1.1" 200 612"#,
        build: &access::COMMON,
    },
    Format {
        name: "apache_vhost_combined",
        summary: "Apache's combined log with the virtual host in front",
        example: r#"example.org:443 203.0.113.7 - - [05/Jan/2026:12:30:45 +0100] "GET /a HTTP/1.1" 200 612 "-" "Mozilla/5.0""#,
        build: &access::VHOST_COMBINED,
    },
    Format {
        name: "json_access",
        summary: "one JSON object a line: nginx with escape=json, Caddy, Traefik, Envoy, Cloudflare, ECS",
        example: r#"{"time_iso8601":"2026-01-05T12:30:45+01:00","remote_addr":"203.0.113.7","request":"GET /a?b=c HTTP/1.1","status":200,"body_bytes_sent":612,"http_user_agent":"Mozilla/5.0"}"#,
        build: &json::Json,
    },
    Format {
        name: "nginx_proxy_manager",
        summary: "Nginx Proxy Manager's log of proxied hosts",
        example: r#"[05/Jan/2026:12:30:45 +0000] - 200 200 - GET https example.org "/a?b=c" [Client 203.0.113.7] [Length 612] [Gzip -] [Sent-to 10.0.0.5] "Mozilla/5.0" "-""#,
        build: &template::NGINX_PROXY_MANAGER,
    },
    Format {
        name: "nginx_proxy_manager_standard",
        summary: "Nginx Proxy Manager's log of hosts that are not proxied",
        example: r#"[05/Jan/2026:12:30:45 +0000] 200 - GET https example.org "/a?b=c" [Client 203.0.113.7] [Length 612] [Gzip -] "Mozilla/5.0" "-""#,
        build: &template::NGINX_PROXY_MANAGER_STANDARD,
    },
    Format {
        name: "nginx_proxy_manager_sent_to",
        summary: "Nginx Proxy Manager's log of hosts that it serves itself, with the server",
        example: r#"[05/Jan/2026:12:30:45 +0100] 200 - GET https example.org "/a?b=c" [Client 203.0.113.7] [Length 612] [Gzip 1.2] [Sent-to 10.0.0.2] "Mozilla/5.0" "-""#,
        build: &template::NGINX_PROXY_MANAGER_SENT_TO,
    },
    Format {
        name: "nginx_proxy_manager_cache",
        summary: "Nginx Proxy Manager's log of proxied hosts, without the server",
        example: r#"[05/Jan/2026:12:30:45 +0100] - 404 200 - GET http example.org "/a?b=c" [Client 203.0.113.7] [Length 612] [Gzip 1.1] "Mozilla/5.0" "-""#,
        build: &template::NGINX_PROXY_MANAGER_CACHE,
    },
    Format {
        name: "npmplus",
        summary: "NPMplus's access log",
        example: r#"[05/Jan/2026:12:30:45 +0000] example.org 203.0.113.7 0.002 "GET /a?b=c HTTP/2.0" 200 612 935 - Mozilla/5.0 (X11)"#,
        build: &template::NPMPLUS,
    },
    Format {
        name: "bunkerweb",
        summary: "BunkerWeb's access log",
        example: r#"example.org 203.0.113.7 - 95386da81aa13b6ab3ce9c989e1e470e - [05/Jan/2026:12:30:45 +0000] "GET /a?b=c HTTP/2.0" 200 612 "-" "Mozilla/5.0""#,
        build: &template::BUNKERWEB,
    },
    Format {
        name: "aws_alb",
        summary: "AWS's Application Load Balancer",
        example: r#"https 2026-01-05T12:30:45.186641Z app/lb/50dc6c495c0c9188 203.0.113.7:2817 10.0.0.1:80 0.000 0.001 0.000 200 200 34 366 "GET https://example.org:443/a?b=c HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 - "Root=1-58337262-36d228ad5d99923122bbe354" "-""#,
        build: &template::AWS_ALB,
    },
    Format {
        name: "haproxy",
        summary: "HAProxy's HTTP log (the bare line; its times have no zone and count as UTC)",
        example: r#"203.0.113.7:14853 [05/Jan/2026:12:30:45.127] https-in~ servers/node_1 170/0/0/3/173 200 739 - - --NN 0/0/0/0/0 0/0 "GET /a?b=c HTTP/1.1""#,
        build: &template::HAPROXY,
    },
    Format {
        name: "cpanel",
        summary: "cPanel's access log",
        example: r#"203.0.113.7 - - [01/05/2026:12:30:45 -0000] "GET /a?b=c HTTP/1.1" 200 0 "-" "Mozilla/5.0" "-" "-" 2083"#,
        build: &template::CPANEL,
    },
    Format {
        name: "cpanel_login",
        summary: "cPanel's log of logins",
        example: r#"[2026-01-05 12:30:45 +0100] info [cpaneld] 203.0.113.7 - root "POST /login/?login_only=1 HTTP/1.1" FAILED LOGIN cpaneld: user password incorrect"#,
        build: &template::CPANEL_LOGIN,
    },
    Format {
        name: "envoy",
        summary: "Envoy's and Istio's default access log; its client is what X-Forwarded-For names, so nobody is blocked by it",
        example: r#"[2026-01-05T12:30:45.310Z] "GET /a?b=c HTTP/2" 204 - 154 0 226 100 "203.0.113.7" "Mozilla/5.0" "cc21d9b0-cf5c" "example.org" "tcp://10.0.2.1:80""#,
        build: &template::ENVOY,
    },
    Format {
        name: "nginx_without_user",
        summary: "nginx's combined log without the user",
        example: r#"203.0.113.7 - [05/Jan/2026:12:30:45 +0000] "GET /a?b=c HTTP/1.1" 200 612 "-" "Mozilla/5.0""#,
        build: &template::NGINX_WITHOUT_USER,
    },
    Format {
        name: "zoraxy",
        summary: "Zoraxy's log of requests (its times have no zone and count as UTC)",
        example: "2026/01/05 12:30:45 [2026-01-05 12:30:45.150624] [router:host-http] [origin:example.org] [client: 203.0.113.7] [useragent: Mozilla/5.0 (X11)] GET /a?b=c 404",
        build: &template::ZORAXY,
    },
    Format {
        name: "iis",
        summary: "IIS (W3C extended) with its usual fields; a file with a #Fields: line is read by that",
        example: "2026-01-05 12:30:45 10.0.0.1 GET /a.aspx b=c 443 - 203.0.113.7 Mozilla/5.0+(X11) - 200 0 0 15",
        build: &w3c::IIS,
    },
    Format {
        name: "aws_cloudfront",
        summary: "AWS CloudFront's standard log",
        example: "2026-01-05\t12:30:45\tCDG50-P2\t703\t203.0.113.7\tGET\td1.cloudfront.net\t/a\t200\t-\tcurl/8\tb=c\t-\tHit\tx==\texample.org\thttps\t62\t0.113\t-\tTLSv1.3\tTLS_AES_128_GCM_SHA256\tHit\tHTTP/2.0\t-\t-\t51754\t0.113\tHit\ttext/html\t20\t-\t-",
        build: &w3c::CLOUDFRONT,
    },
    Format {
        name: CSV,
        summary: "CSV with these columns; a file whose first line names others is read by that, one without by `csv:` and their names",
        example: r#"2026-01-05T12:30:45Z,203.0.113.7,GET,"/a?b=c,d",200,612,https://example.org/,"Mozilla/5.0 (X11, ""x"")""#,
        build: &csv::USUAL,
    },
    Format {
        name: "couchdb",
        summary: "CouchDB's log of requests",
        example: "[notice] 2026-01-05T12:30:45.579985Z nonode@nohost <0.17607.12> e1fed412f8 db.example.org 203.0.113.7 undefined GET /a 404 ok 1",
        build: &couchdb::CouchDb,
    },
    Format {
        name: "uvicorn",
        summary: "Uvicorn and other Python servers, whatever stands in front of the client",
        example: r#"2026-01-05 12:30:45 INFO:     203.0.113.7:52782 - "GET /a?b=c HTTP/1.1" 200 OK"#,
        build: &uvicorn::Uvicorn,
    },
    Format {
        name: "message",
        summary: "what is no request: logins, mail, firewalls, applications; as text, key=value, JSON or CEF",
        example: "2026-01-05 12:30:45.123 WARN Failed login for user 'alice' from 203.0.113.7",
        build: &message::Message,
    },
];

/// The format of CSV whose columns nothing names.
pub const CSV: &str = "csv";
