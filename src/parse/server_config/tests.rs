use proptest::prelude::Strategy as _;

use super::*;
use crate::parse::Extent;
use crate::parse::tests::{context, shown_event};

/// Reads the first of `files`, each a path and its text; the others are there to be included.
fn read(files: &[(&str, &str)]) -> ServerConfig {
    let mut named = |pattern: &str| -> Vec<File> {
        let pattern = glob::Pattern::new(pattern).unwrap();
        let named = files.iter().filter(|(path, _)| pattern.matches(path));
        let file = |(path, text): &(&str, &str)| File { path: (*path).into(), text: Ok((*text).into()) };
        named.map(file).collect()
    };
    ServerConfig::read(files[0].0, &mut named)
}

fn logs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    read(files).logs.into_iter().map(|log| (log.path, log.format)).collect()
}

fn pairs(logs: &[(&str, &str)]) -> Vec<(String, String)> {
    logs.iter().map(|(path, format)| ((*path).to_owned(), (*format).to_owned())).collect()
}

const DEBIAN_NGINX: &str = r#"
user www-data;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 768; }
http {
	include /etc/nginx/mime.types;
	ssl_protocols TLSv1.2 TLSv1.3; # Dropping SSLv3, ref: "POODLE
	access_log /var/log/nginx/access.log;
	include /etc/nginx/conf.d/*.conf;
	include sites-enabled/*;
}
#mail { access_log /var/log/nginx/mail.log; }
"#;

#[test]
fn the_layout_of_debian_s_nginx_is_read() {
    let files = [
        ("/etc/nginx/nginx.conf", DEBIAN_NGINX),
        ("/etc/nginx/modules-enabled/50-stream.conf", "load_module modules/ngx_stream_module.so;"),
        ("/etc/nginx/mime.types", "types {\n text/html html htm;\n application/x-it's js;\n}"),
        ("/etc/nginx/conf.d/log.conf", "log_format timed '$remote_addr [$time_local] '\n '\"$request\" ' \"$status\";"),
        (
            "/etc/nginx/sites-enabled/shop",
            "server {\n access_log /srv/shop/access.log timed buffer=32k flush=5s if=$loggable;\n\
             location = /favicon.ico { access_log off; }\n\
             location /api { include snippets/log.conf; }\n}",
        ),
        ("/etc/nginx/snippets/log.conf", "access_log logs/api.log combined;"),
    ];
    let found = read(&files);
    let timed = r#"$remote_addr [$time_local] "$request" $status"#;
    let expected = [
        ("/var/log/nginx/access.log", "nginx_combined"),
        ("/srv/shop/access.log", timed),
        ("/etc/nginx/logs/api.log", "nginx_combined"),
    ];
    assert_eq!(logs(&files), pairs(&expected));
    assert_eq!(found.logs[1].place.to_string(), "/etc/nginx/conf.d/log.conf:1", "where its format is defined");
    assert_eq!(found.logs[2].place.to_string(), "/etc/nginx/snippets/log.conf:1");
    assert_eq!(
        found.left_out,
        ["/etc/nginx/sites-enabled/shop:3: the access log off is left out: nothing is logged there"]
    );
}

#[test]
fn nginx_built_from_source_logs_below_its_prefix_and_by_default_to_a_file_of_its_own() {
    let path = "/usr/local/nginx/conf/nginx.conf";
    let all = |text: &str| logs(&[(path, text)]);
    let default = ("/usr/local/nginx/logs/access.log", "nginx_combined");
    assert_eq!(all("http { server { listen 80; } }"), pairs(&[default]));
    let own = ("/usr/local/nginx/logs/a.log", "nginx_combined");
    assert_eq!(all("http { access_log logs/a.log; }"), pairs(&[own]));
    assert_eq!(all("http { server { access_log logs/a.log; } }"), pairs(&[own, default]), "other servers");
    assert_eq!(all("events {}"), [], "no web server");
    let packaged = [("/etc/nginx/nginx.conf", "http { }")];
    assert_eq!(logs(&packaged), pairs(&[("/var/log/nginx/access.log", "nginx_combined")]));
}

#[test]
fn the_words_of_nginx_are_told_as_it_tells_them() {
    let words = |text: &str| statements(text).into_iter().map(|statement| statement.words).collect::<Vec<_>>();
    fn statements(text: &str) -> Vec<walk::Statement> {
        nginx::statements(text)
    }
    for (text, expected) in [
        (r#"a 'b "c" \' d' "e;{}#\"f";"#, &["a", r#"b "c" ' d"#, r#"e;{}#"f"#][..]),
        (r"a b\ c\;d\t;", &["a", "b\\ c\\;d\t"][..]),
        ("a ${b}c{d$;", &["a", "${b}c"]),
        ("a x#y # z\n b;", &["a", "x#y", "b"]),
        ("\u{feff}a\r\n\tb;c;", &["a", "b"]),
        (r#"a "b"#, &[]),
    ] {
        assert_eq!(words(text).first().map(Vec::as_slice).unwrap_or_default(), expected, "{text}");
    }
    let lua = "http {\n content_by_lua_block {\n  -- don't } \n --[[ isn't\n } ]] local t = { '}', \"{\", [[ } ]] }\n }\n a;\n}";
    let told: Vec<(u32, String)> =
        statements(lua).into_iter().map(|statement| (statement.line, statement.words.join(" "))).collect();
    assert_eq!(told, [(1, "http".into()), (7, "a".into()), (8, String::new())]);
}

#[test]
fn what_nginx_writes_elsewhere_is_left_out_and_told_once() {
    let text = "http {
        log_format raw escape=none '$remote_addr [$time_local] \"$request\"';
        access_log /srv/a.log raw;
        access_log /srv/$host.access.log;
        access_log syslog:server=192.0.2.1 combined;
        access_log /dev/stdout;
        access_log /dev/stdout;
        access_log /srv/a.log.gz combined gzip flush=5m;
        access_log /srv/a.log missing;
        server { access_log off; }
        server { access_log off; }
    }
    stream { log_format raw '$remote_addr'; access_log /srv/stream.log raw; }";
    let found = read(&[("/etc/nginx/nginx.conf", text)]);
    assert_eq!(found.logs, []);
    let told: Vec<&str> = found.left_out.iter().map(|told| told.split_once("conf:").unwrap().1).collect();
    assert_eq!(
        told,
        [
            "2: the log format raw is left out: with escape=none clients can write quotes, and so any line",
            "4: the access log /srv/$host.access.log is left out: its name has variables; name the files in a [[source]]",
            "5: the access log syslog:server=192.0.2.1 is left out: it is no file",
            "6: the access log /dev/stdout is left out: it is no file",
            "8: the access log /srv/a.log.gz is left out: it is written compressed",
            "9: the access log /srv/a.log is left out: its format is not defined",
            "10: the access log off is left out: nothing is logged there",
        ]
    );
}

#[test]
fn what_nginx_and_apache_define_reads_what_they_write() {
    let json = r#"http {
        log_format j escape=json '{"when":"$time_iso8601","peer":"$remote_addr","ip":"$http_x_forwarded_for",'
            '"line":"$request","code":$status,"took":$request_time}';
        access_log /a j;
    }"#;
    let apache = r#"LogFormat "%a\t\"%r\"\t\\x %{%s}t" tabs
        CustomLog /a tabs"#;
    for (path, config, line, expected) in [
        (
            "/etc/nginx/nginx.conf",
            json,
            r#"{"when":"2026-01-05T12:30:45+00:00","peer":"203.0.113.7","ip":"198.51.100.1","line":"GET /\"a HTTP/1.1","code":200,"took":0.003}"#,
            r#"2026-01-05T12:30:45.000Z 203.0.113.7 GET|/\"a|HTTP/1.1 200 None ref= ua= user= host="#,
        ),
        (
            "/etc/nginx/nginx.conf",
            r#"http { log_format b '$remote_addr \"$request\" a\b\\c $msec'; access_log /a b; }"#,
            r#"203.0.113.7 "GET / HTTP/1.1" a\b\c 1767616245.000"#,
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/|HTTP/1.1 0 None ref= ua= user= host=",
        ),
        (
            "/etc/httpd/conf/httpd.conf",
            apache,
            "203.0.113.7\t\"GET / HTTP/1.1\"\t\\x 1767616245",
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/|HTTP/1.1 0 None ref= ua= user= host=",
        ),
    ] {
        let found = read(&[(path, config)]);
        let formats = Formats::named(&found.logs[0].format).unwrap();
        assert_eq!(shown_event(formats.parse(line.as_bytes(), &context(Extent::Whole))), expected);
    }
}

const DEBIAN_APACHE: &str = r#"
DefaultRuntimeDir ${APACHE_RUN_DIR}
ErrorLog ${APACHE_LOG_DIR}/error.log
IncludeOptional mods-enabled/*.load
Include ports.conf
<FilesMatch "^\.ht">
	Require all denied
</FilesMatch>
LogFormat "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" vhost_combined
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined
LogFormat "%h %l %u %t \"%r\" %>s %O" common
IncludeOptional conf-enabled/*.conf
IncludeOptional sites-enabled/*.conf
"#;
const ENVVARS: &str = r#"
if [ "${APACHE_CONFDIR##/etc/apache2-}" != "${APACHE_CONFDIR}" ] ; then
	SUFFIX="-${APACHE_CONFDIR##/etc/apache2-}"
else
	SUFFIX=
fi
export APACHE_RUN_USER=www-data
export APACHE_LOG_DIR=/var/log/apache2$SUFFIX
"#;

#[test]
fn the_layout_of_debian_s_apache_is_read() {
    let site = r#"<VirtualHost *:80>
	ServerName a.example
	LogFormat "%a %t \"%r\" %>s \
		%D" combined
	CustomLog ${APACHE_LOG_DIR}/a.log combined
</VirtualHost>
<virtualhost *:443>
	<IfModule mod_ssl.c>
	customlog "${APACHE_LOG_DIR}/b log" combined env=!dontlog
	CustomLog ssl.log "%t %h \"%r\""
	TransferLog transfer.log
	</IfModule>
</virtualhost>
"#;
    let files = [
        ("/etc/apache2/apache2.conf", DEBIAN_APACHE),
        ("/etc/apache2/envvars", ENVVARS),
        ("/etc/apache2/ports.conf", "Listen 80\n<IfModule ssl_module>\n\tListen 443\n</IfModule>"),
        ("/etc/apache2/conf-enabled/other.conf", "CustomLog ${APACHE_LOG_DIR}/other_vhosts_access.log vhost_combined"),
        ("/etc/apache2/sites-enabled/000.conf", site),
    ];
    let expected = [
        ("/var/log/apache2/other_vhosts_access.log", "apache_vhost_combined"),
        ("/var/log/apache2/a.log", "%a %t \"%r\" %>s \t\t%D"),
        ("/var/log/apache2/b log", "apache_combined"),
        ("/etc/apache2/ssl.log", "%t %h \"%r\""),
        ("/etc/apache2/transfer.log", "apache_common"),
    ];
    let found = read(&files);
    assert_eq!(logs(&files), pairs(&expected));
    assert_eq!(found.logs[1].place.to_string(), "/etc/apache2/sites-enabled/000.conf:3");
    assert_eq!(found.left_out, [""; 0]);
}

#[test]
fn sections_and_definitions_of_apache_count_as_it_counts_them() {
    let text = r#"# A comment \
CustomLog /srv/commented.log common
ServerRoot "/etc/httpd"
Define LOGS logs/${NOT_KNOWN}
UnDefine LOGS
Define LOGS "logs/x"
Define TWICE ${LOGS}${LOGS}
CustomLog ${LOGS}/access_log common
CustomLog "|/usr/sbin/rotatelogs /srv/%F.log" common
CustomLog ${UNKNOWN}/access_log common
CustomLog /srv/late.log late
CustomLog /srv/clf.log CLF
CustomLog /srv/no.log nowhere
LogFormat "%h %t \"%r\"" late
LogFormat common
TransferLog /srv/transfer.log
<IfDefine LOGS>
  <IfModule !log_config_module>
    LogFormat "%h" common
  </IfModule>
</IfDefine>
<IfDefine !LOGS>
  LogFormat "%h" common
</IfDefine>
<Macro site $name>
  CustomLog /srv/$name.log common
</Macro>
LogFormat "%h %l %u %t \"%r\" %>s %b" common
<VirtualHost *>
<Directory />
</VirtualHost>
CustomLog ${TWICE} "%v %t %a"
"#;
    let files = [("/opt/httpd/conf/httpd.conf", text)];
    let expected = [
        ("/etc/httpd/logs/x/access_log", "apache_common"),
        ("/srv/late.log", "%h %t \"%r\""),
        ("/srv/clf.log", "apache_common"),
        ("/srv/transfer.log", "apache_common"),
        ("/etc/httpd/logs/xlogs/x", "%v %t %a"),
    ];
    assert_eq!(logs(&files), pairs(&expected));
    let told = read(&files).left_out;
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].contains(":9: ") && told[0].ends_with("it goes to a program"), "{told:#?}");
    assert!(told[1].contains(":10: ") && told[1].contains("variables"), "{told:#?}");
    assert!(told[2].contains(":13: ") && told[2].ends_with("its format is not defined"), "{told:#?}");
}

#[test]
fn what_a_built_in_format_reads_is_called_by_its_name() {
    for (format, name) in [
        (r#"%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-agent}i" %D"#, "apache_combined"),
        (r#"%a %l %u %t "%r" %>s %B"#, "apache_common"),
        (
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for""#,
            "nginx_main",
        ),
        (
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_time"#,
            "nginx_combined",
        ),
        (r#"%v:%p %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#, "apache_vhost_combined"),
    ] {
        assert_eq!(built_in_or(format.to_owned()), name);
    }
    let own = [
        r#"%a %l %u %t "%r" %>s %B %D"#,
        r#"%h %l %u %t "%r" %s %b"#,
        r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"x"#,
        r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" "%{X-Forwarded-For}i""#,
    ];
    for format in own {
        assert_eq!(built_in_or(format.to_owned()), format);
    }
}

#[test]
fn files_that_cannot_be_read_or_include_themselves_are_told_and_the_rest_is_read() {
    let mut files = |pattern: &str| match pattern {
        "/etc/nginx/nginx.conf" => vec![File {
            path: pattern.into(),
            text: Ok("http {\n include b;\n access_log /srv/a.log;\n include c;\n}".into()),
        }],
        "/etc/nginx/b" => vec![
            File { path: "/etc/nginx/b1".into(), text: Err("permission denied".into()) },
            File { path: "/etc/nginx/b2".into(), text: Ok("server {\n access_log /srv/b.log;\n include b2;".into()) },
        ],
        "/etc/nginx/b2" => vec![File { path: "/etc/nginx/b2".into(), text: Ok("include b2;".into()) }],
        other => {
            let next = format!("access_log {other};\ninclude {other}x;");
            vec![File { path: other.into(), text: Ok(next) }]
        }
    };
    let found = ServerConfig::read("/etc/nginx/nginx.conf", &mut files);
    let paths: Vec<&str> = found.logs.iter().map(|log| log.path.as_str()).collect();
    assert_eq!(paths[..3], ["/srv/b.log", "/srv/a.log", "/etc/nginx/c"], "an open block ends with its file");
    assert_eq!(paths.len(), 2 + MAX_DEPTH, "{paths:?}");
    assert_eq!(
        found.left_out[..2],
        [
            "/etc/nginx/nginx.conf:2: /etc/nginx/b1 is left out: permission denied",
            "/etc/nginx/b2:3: /etc/nginx/b2 is left out: it includes itself"
        ]
    );
    assert!(found.left_out[2].ends_with("too many files include each other"), "{:?}", found.left_out);
}

#[test]
fn what_the_configuration_says_comes_before_what_the_head_shows() {
    let own = Formats::named(r#"$remote_addr [$time_local] "$request""#).unwrap();
    let line = br#"203.0.113.7 [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1""#.as_slice();
    let combined = crate::parse::KINDS[0].example.as_bytes();
    let known = |lines: &[&'static [u8]]| own.or_learn("x", lines.iter().copied(), &context(Extent::Whole)).names();
    assert_eq!(
        known(&[line, line, combined]),
        own.names(),
        "who can write one line of the head cannot choose its parser"
    );
    assert_eq!(known(&[line, combined, combined]), [own.names(), vec!["nginx_combined".into()]].concat());
    assert_eq!(known(&[combined]), ["nginx_combined"], "from before the configuration was changed");
    assert_eq!(known(&[b"junk"]), [""; 0]);
    assert_eq!(
        Formats::default().or_learn("x", [combined].into_iter(), &context(Extent::Whole)).names(),
        ["nginx_combined"]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic_or_go_on_for_ever(
        parts in proptest::collection::vec(proptest::prop_oneof![
            proptest::sample::select(vec![
                "http", "events", "{", "}", ";", "include", "log_format", "access_log", "\"", "'", "\\", "#", "\n", " ", "$",
                "${x}", "Define x ", "<VirtualHost a>", "</VirtualHost>", "<IfDefine !", ">", "Include ", "LogFormat ",
                "CustomLog ", "TransferLog ", "|", "/a", "x", "%t", "é", "escape=json", "a_by_lua_block {", "[[", "]]", "--",
            ]).prop_map(str::to_owned),
            proptest::arbitrary::any::<String>(),
        ], 0..60),
    ) {
        let text = parts.concat();
        let mut opened = 0;
        let mut read = |pattern: &str| {
            opened += 1;
            let file = |name: &str| File { path: format!("{pattern}{name}"), text: Ok(text.clone()) };
            vec![file(""), file("1"), file("2")]
        };
        let found = ServerConfig::read("/etc/nginx.conf", &mut read);
        // Each of the three configurations at the path may open so many, and Apache's `envvars`.
        proptest::prop_assert!(opened <= 3 * (2 + MAX_FILES));
        for log in found.logs {
            proptest::prop_assert!(log.path.starts_with('/'));
        }
    }
}
