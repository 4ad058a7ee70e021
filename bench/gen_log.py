#!/usr/bin/env python3
"""Writes an access log of a shop in nginx's combined format: the same bytes for the same arguments.

    bench/gen_log.py [--lines 1000000] [--seed 1] [--attacks 0.02] [--clients 20000] > access.log
    bench/gen_log.py --hostile words [--lines 1000000] [--seed 1] > access.log

With --hostile each line is another query of about 1 KB, from a client of its own, made to cost as much as it can.
"""

import argparse
import random
import string
import sys
import time
from urllib.parse import quote

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{m} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{m} Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "okhttp/4.{m}.0",
)
WORDS = "lamp desk chair oak walnut dark+red gr%C3%BCn caf%C3%A9 king+size select+fabric drop+leaf union+jack o'neill".split()
ATTACKS = (
    "/products?id={n}%27%20UNION%20SELECT%20name,pass%20FROM%20users--%20-",
    "/products?id={n}+or+1=1--+-",
    "/download?file=../../../../../../etc/passwd&x={n}",
    "/static/..%2f..%2f..%2fetc/shadow?{n}",
    "/search?q=%3Cscript%3Ealert({n})%3C/script%3E",
    "/search?q=%22%3E%3Cimg%20src=x%20onerror=alert({n})%3E",
    "/ping?host=127.0.0.1;cat%20/etc/passwd&n={n}",
    "/fetch?url=http://169.254.169.254/latest/meta-data/{n}",
    "/login?user[$ne]={n}&pass[$gt]=",
    "/.env?{n}",
    "/.git/config?{n}",
    "/wp-content/plugins/x/shell.php?cmd=id&n={n}",
)
TOOLS = ("sqlmap/1.9.{m}#stable (https://sqlmap.org)", "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:{v}{m})")
# What attacks are recognised by, without an attack.
PIECES = ("javascript: passwd onload= /etc/ union select wget curl exec system( eval( alert( <svg base64 cat .php sleep(5) "
          "' \" ; | && $( ${ {{ ../ http:// or").split()
HOSTILE = {
    "random": lambda rng: text(rng, string.ascii_letters + string.digits + "-_.~", 900),
    "bytes": lambda rng: "".join(f"%{rng.randrange(256):02x}" for _ in range(300)),
    "encoded": lambda rng: "".join(f"%{rng.randrange(32, 127):02x}" for _ in range(300)),
    "words": lambda rng: "".join(quote(rng.choice(PIECES), safe="();=$") + text(rng, string.ascii_lowercase, 3) for _ in range(95)),
    "parameters": lambda rng: "&".join(
        f"{text(rng, string.ascii_lowercase, 5)}={quote(rng.choice(PIECES), safe='')}{text(rng, string.ascii_lowercase, 4)}"
        for _ in range(60)),
}
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def browse(rng):
    """A request of a visitor: path with query, status, bytes."""
    kind = rng.random()
    if kind < 0.35:
        return f"/assets/{rng.choice(('app', 'site', 'vendor'))}.{rng.randrange(40):08x}.js?v={rng.randrange(30)}", 200, 20_000
    if kind < 0.55:
        return f"/images/products/{rng.randrange(8000)}-{rng.choice(('small', 'large'))}.webp", 200, 50_000
    if kind < 0.75:
        return f"/products/{rng.randrange(8000)}?ref=list&page={rng.randrange(20)}&utm_source=newsletter&utm_campaign=spring-{rng.randrange(12)}", 200, 9_000
    if kind < 0.88:
        words = "+".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 4)))
        return f"/search?q={words}&sort={rng.choice(('price', 'name'))}&page={rng.randrange(9)}", 200, 7_000
    if kind < 0.96:
        return f"/api/v1/cart?session={rng.getrandbits(64):016x}&fields=id,name,price&filter%5Bcolour%5D=dark", 200, 800
    return f"/old/{rng.randrange(500)}.html", rng.choice((301, 404, 304)), 300


def text(rng, letters, length):
    return "".join(rng.choices(letters, k=length))


def write_hostile(out, lines, seed, hostile):
    rng = random.Random(seed)
    for number in range(lines):
        client = f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        uri = f"/search?q={HOSTILE[hostile](rng)}"
        out.write(f'{client} - - [05/Jan/2026:{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02} +0000] "GET {uri} HTTP/1.1" 200 512 "-" "-"\n')


def write(out, lines, seed, attacks, clients):
    rng = random.Random(seed)
    agents = [rng.choice(AGENTS).format(v=rng.randrange(115, 141), m=rng.randrange(9)) for _ in range(300)]

    def address():
        if rng.random() < 0.2:
            return f"2001:db8:{rng.randrange(65536):x}:{rng.randrange(65536):x}::{rng.randrange(65536):x}"
        return f"{rng.randrange(11, 170)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"

    visitors = [(address(), rng.choice(agents)) for _ in range(clients)]
    attackers = [address() for _ in range(max(1, clients // 100))]
    now, stamp, last = 1_767_571_200.0, "", 0
    for number in range(lines):
        now += rng.expovariate(200)
        if int(now) != last:
            last = int(now)
            t = time.gmtime(last)
            stamp = f"{t.tm_mday:02}/{MONTHS[t.tm_mon - 1]}/{t.tm_year}:{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
        if rng.random() < attacks:
            client, referer = rng.choice(attackers), "-"
            uri = rng.choice(ATTACKS).format(n=rng.randrange(10**6))
            status, size = rng.choice((200, 403, 404)), 500
            agent = rng.choice(TOOLS).format(v=rng.randrange(100), m=rng.randrange(9)) if rng.random() < 0.3 else rng.choice(agents)
        else:
            # Some visitors come far more often than others.
            client, agent = visitors[int(clients * rng.random() ** 2)]
            uri, status, size = browse(rng)
            referer = "-" if rng.random() < 0.3 else f"https://shop.example/category/furniture/living-room?sort=popularity&page={rng.randrange(400)}"
        method = "POST" if rng.random() < 0.05 else "GET"
        out.write(f'{client} - - [{stamp}] "{method} {uri} HTTP/1.1" {status} {rng.randrange(size)} "{referer}" "{agent}"\n')


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attacks", type=float, default=0.02, help="share of lines")
    parser.add_argument("--clients", type=int, default=20_000)
    parser.add_argument("--hostile", choices=HOSTILE)
    arguments = parser.parse_args()
    if arguments.hostile:
        write_hostile(sys.stdout, arguments.lines, arguments.seed, arguments.hostile)
    else:
        write(sys.stdout, arguments.lines, arguments.seed, arguments.attacks, arguments.clients)
