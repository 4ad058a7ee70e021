//! Attacks that are quoted in prose: what people type into search and message fields about attacks. A rule
//! that matches nowhere but in such a text tells little, unless the text leaves the place that it is put into.

use super::decode::{Plus, decode, is_encoded, split_once};

/// What all rules count together that match in prose alone: enough for a finding, never for a block.
pub const QUOTED: u8 = 5;
/// The same in a referrer: browsers repeat with each picture of a page what was asked for once.
pub const REPEATED: u8 = 2;

/// Appends `uri` to `out` without the values of parameters that are prose, if there are any; whether there are.
pub fn without_prose(uri: &[u8], out: &mut Vec<u8>) -> bool {
    let Some((_, query)) = split_once(uri, b'?') else { return false };
    let (mut kept_to, mut rest, mut text) = (0, Some(query), vec![]);
    while let Some(pairs) = rest {
        let (pair, after) = split_once(pairs, b'&').map_or((pairs, None), |(pair, after)| (pair, Some(after)));
        let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        let is_typed = is_typed(decoded(name, &mut text));
        if (is_typed || may_be_sentence(value)) && is_prose(is_typed, decoded(value, &mut text)) {
            let end = uri.len() - pairs.len() + pair.len();
            out.extend_from_slice(&uri[kept_to..end - value.len()]);
            kept_to = end;
        }
        rest = after;
    }
    if kept_to > 0 {
        out.extend_from_slice(&uri[kept_to..]);
    }
    kept_to > 0
}

/// `raw`, a part of a query, decoded, if need be into `text`.
fn decoded<'a>(raw: &'a [u8], text: &'a mut Vec<u8>) -> &'a [u8] {
    if !is_encoded(raw) {
        return raw;
    }
    text.clear();
    decode(raw, Plus::Space, text);
    text
}

/// Whether a value, as logged, has as many signs as a sentence has spaces, which may stand for some.
fn may_be_sentence(value: &[u8]) -> bool {
    value.iter().filter(|byte| matches!(byte, b'+' | b'%' | b'\\' | b' ' | b'\t'..=b'\r')).nth(2).is_some()
}

/// Whether the decoded value of a parameter is prose, and neither leaves the place that it is put into nor comments
/// out what follows. In one into which people type, few words are enough.
fn is_prose(is_typed: bool, value: &[u8]) -> bool {
    if breaks_out(value) {
        return false;
    }
    let (mut pieces, mut ordinary, mut common) = (0, 0, false);
    let (mut leading, mut trailing, mut follows_code) = (0, 0, false);
    for piece in value.split(u8::is_ascii_whitespace).filter(|piece| !piece.is_empty()) {
        pieces += 1;
        let kind = word(piece);
        common |= kind == Word::Common;
        // What follows a word of SQL or of a shell may be its object.
        if kind == Word::Common || kind == Word::Ordinary && !follows_code {
            (ordinary, trailing) = (ordinary + 1, trailing + 1);
        } else {
            trailing = 0;
        }
        follows_code = kind == Word::Code;
        if ordinary == pieces {
            leading = pieces;
        }
    }
    let is_enough = if is_typed {
        common && ordinary > 1 || leading > 1 || trailing > 0
    } else {
        common && ordinary > 3 && 2 * ordinary >= pieces
    };
    is_enough && !ends_in_comment(value, leading > 1)
}

/// What a piece of text between spaces is to a reader.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    /// One that every sentence has: an article, a pronoun, a question word; any word in a script of its own.
    Common,
    Ordinary,
    /// A word of SQL and of shells, which English has too.
    Code,
    None,
}

fn word(piece: &[u8]) -> Word {
    let Ok(text) = std::str::from_utf8(piece) else { return Word::None };
    let bare = text.trim_matches(|c: char| {
        matches!(c, '(' | ')' | '"' | '\'' | ',' | '.' | ';' | ':' | '?' | '!' | '-') || is_quotation(c)
    });
    let is_joined = |c: char| matches!(c, '\'' | '-' | '\u{2019}');
    let letters = bare.chars().filter(|c| !is_joined(*c)).count();
    if letters < 2 || !bare.chars().all(|c| c.is_alphabetic() && !is_full_width(c) || is_mark(c) || is_joined(c)) {
        return if text.chars().filter(|c| is_foreign(*c)).count() > 1 { Word::Common } else { Word::None };
    }
    if bare.chars().filter(|c| is_foreign(*c)).count() > 1 {
        return Word::Common;
    }
    match bare.as_bytes() {
        bare if is_in(COMMON, bare) => Word::Common,
        bare if is_in(CODE, bare) => Word::Code,
        _ => Word::Ordinary,
    }
}

/// Vowel signs and the like, which are no letters by themselves.
fn is_mark(c: char) -> bool {
    c as u32 >= 0x300 && !c.is_whitespace() && !c.is_ascii_punctuation() && !is_quotation(c) && !is_full_width(c)
}

/// A letter of a script other than Latin. Full-width forms are letters in disguise.
fn is_foreign(c: char) -> bool {
    c as u32 >= 0x370 && c.is_alphabetic() && !is_full_width(c)
}

fn is_full_width(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}')
}

fn is_quotation(c: char) -> bool {
    matches!(
        c,
        '\u{2018}'
            ..='\u{201f}'
                | '\u{ab}'
                | '\u{bb}'
                | '\u{bf}'
                | '\u{a1}'
                | '\u{300c}'
                | '\u{300d}'
                | '\u{3001}'
                | '\u{3002}'
                | '\u{ff1f}'
    )
}

/// Whether text leaves the place that it is put into: after one word or number at most comes what ends a
/// string, a bracket, a tag or a command. A quotation or an apostrophe ends nothing.
fn breaks_out(value: &[u8]) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = value.iter().take_while(|byte| is_name(**byte)).count();
    let after = value[first..].trim_ascii_start();
    match after {
        [quote @ (b'\'' | b'"'), rest @ ..] => !(is_quotation_of(*quote, rest) || first > 0 && is_apostrophe(rest)),
        [b'`' | b')' | b']' | b'}' | b';' | b'|' | b'&' | b'>' | b'#' | b'\\' | 0, ..] => true,
        [b'$', b'(', ..] | [b'-', b'-', ..] | [b'/', b'*', ..] | [b'*', b')', ..] => true,
        // Trimmed above where it stands alone.
        _ => value[first..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .any(|byte| matches!(byte, b'\n' | b'\r')),
    }
}

/// Whether what follows an opening quote is a text and its end.
fn is_quotation_of(quote: u8, rest: &[u8]) -> bool {
    let Some(end) = memchr::memchr(quote, rest) else { return false };
    let begins = rest
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'<' | b'$' | b'{' | b'/' | b'.'));
    let ends =
        rest.get(end + 1).is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b'.' | b'?' | b'!'));
    begins && ends && !rest[..end].ends_with(b" ")
}

/// Whether what follows a quote inside a word is the rest of the word, and no word of SQL.
fn is_apostrophe(rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| !(byte.is_ascii_alphabetic() || *byte >= 0x80)).unwrap_or(rest.len());
    end > 0 && !matches!(word(&rest[..end]), Word::Code) && !matches!(rest.get(end), Some(b'\'' | b'"' | b'('))
}

/// Whether what follows the text would be a comment: it ends with the mark of one, or with a made-up word
/// after it where it does not begin with words.
fn ends_in_comment(value: &[u8], begins_with_words: bool) -> bool {
    let text = value.trim_ascii_end();
    let text = text.strip_suffix(b"-- -").map_or(text, |rest| &value[..rest.len() + 2]);
    let last = text.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
    let (before, end) = (text[..last].trim_ascii_end(), &text[last..]);
    match end {
        // C# and F# are languages.
        [letter, b'#'] if letter.is_ascii_alphabetic() => false,
        [.., b'-', b'-'] | [.., b'#' | 0] | [.., b'/', b'*'] | [.., b'-', b'-', b'+'] => true,
        _ => !begins_with_words && before.ends_with(b"--") && word(end) != Word::Common,
    }
}

/// Whether a parameter's name says that a person types into it; of a name like `form[message]` one part does.
fn is_typed(name: &[u8]) -> bool {
    name.split(|byte| !byte.is_ascii_alphanumeric()).any(|part| is_in(TYPED, part))
}

/// Whether a list that is in order has a word, in small letters or large.
fn is_in(list: &[u128], word: &[u8]) -> bool {
    word.len() <= LONGEST_WORD && list.binary_search(&packed(word)).is_ok()
}

/// No listed word is longer.
const LONGEST_WORD: usize = 16;

/// A word as a number that is compared at once, in the order of words.
const fn packed(word: &[u8]) -> u128 {
    let (mut packed, mut at) = (0, 0);
    while at < LONGEST_WORD {
        packed = packed << 8 | if at < word.len() { word[at].to_ascii_lowercase() as u128 } else { 0 };
        at += 1;
    }
    packed
}

/// Words in their order, packed.
const fn list<const N: usize>(words: [&str; N]) -> [u128; N] {
    let (mut list, mut at) = ([0; N], 0);
    while at < N {
        list[at] = packed(words[at].as_bytes());
        assert!(words[at].len() <= LONGEST_WORD && (at == 0 || list[at - 1] < list[at]));
        at += 1;
    }
    list
}

/// Names of parameters for searches and messages, in several languages.
#[rustfmt::skip]
const TYPED: &[u128] = &list([
    "about", "ask", "asunto", "begriff", "bericht", "betreff", "body", "busca", "buscador", "buscar", "busqueda",
    "caption", "cerca", "comentario", "comment", "commentaire", "comments", "content", "desc", "description",
    "domanda", "feedback", "find", "frage", "fraza", "haku", "headline", "k", "keyword", "keywords", "kommentar",
    "kw", "kwd", "lookup", "mensaje", "message", "messages", "motcle", "mots", "msg", "nachricht", "note", "notes",
    "palabra", "palabras", "parola", "phrase", "pregunta", "q", "qs", "query", "question", "recherche",
    "rechercher", "reply", "requete", "review", "ricerca", "s", "search", "searchphrase", "searchquery",
    "searchstring", "searchterm", "searchtext", "searchword", "sok", "stichwort", "subject", "suchbegriff", "suche",
    "suchen", "suchwort", "sujet", "szukaj", "term", "terms", "testo", "text", "texte", "texto", "title", "titolo",
    "titulo", "topic", "txt", "vraag", "w", "wd", "word", "words", "zoek", "zoeken", "zoekterm",
]);

/// Words that hold sentences together: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish,
/// Scandinavian languages, Turkish. No word that code has, too.
#[rustfmt::skip]
const COMMON: &[u128] = &list([
    "about", "al", "am", "are", "att", "au", "auch", "auf", "aus", "aux", "avec", "because", "bedeutet", "been",
    "bei", "being", "bir", "bu", "c'est", "can", "ce", "cela", "ces", "cette", "che", "chi", "co", "comment",
    "como", "cosa", "could", "cuando", "cuál", "czy", "cómo", "da", "dans", "das", "dein", "del", "della", "delle",
    "dem", "den", "der", "des", "det", "deze", "di", "did", "die", "dit", "dlaczego", "does", "dos", "dove", "du",
    "dónde", "een", "ein", "eine", "einem", "einen", "einer", "eines", "el", "elles", "em", "er", "es", "est",
    "esta", "este", "et", "fuer", "för", "für", "gli", "had", "has", "have", "he", "her", "here", "het", "him",
    "his", "hoe", "how", "hur", "hvad", "hvordan", "ich", "ihr", "ikke", "il", "ils", "im", "inte", "isso", "ist",
    "it", "its", "için", "jak", "je", "jego", "jest", "kann", "la", "las", "le", "les", "lo", "los", "ma", "man",
    "may", "me", "mein", "meine", "meinem", "meinen", "mes", "meu", "mi", "mich", "might", "mijn", "mikä", "mine",
    "minha", "mio", "mir", "mit", "miten", "moim", "mon", "muy", "my", "más", "na", "naar", "nao", "nasıl", "ne",
    "nedir", "nel", "nella", "nicht", "nie", "niet", "noch", "nos", "nous", "nur", "não", "och", "oder", "of", "og",
    "onko", "os", "ou", "our", "ours", "par", "para", "pas", "pela", "pelo", "per", "perché", "please", "plus",
    "por", "porque", "pour", "pourquoi", "przez", "qu'est-ce", "quando", "que", "quel", "quelle", "quelles",
    "quels", "questa", "questo", "qui", "quién", "quoi", "qué", "sans", "se", "sein", "shall", "she", "should",
    "sie", "sind", "się", "som", "son", "sono", "sont", "su", "sur", "sus", "são", "są", "than", "that", "the",
    "their", "theirs", "them", "there", "these", "they", "this", "those", "tu", "um", "uma", "un", "una", "unas",
    "und", "une", "uno", "unos", "uns", "vad", "ve", "very", "vom", "von", "voor", "vous", "waarom", "wann",
    "warum", "was", "wat", "we", "welche", "welcher", "welches", "wenn", "wer", "werden", "were", "what", "which",
    "who", "whom", "whose", "why", "wie", "wij", "will", "wir", "wird", "with", "wo", "would", "wurde", "you",
    "your", "yours", "zijn", "zu", "zum", "zur", "är",
]);

/// Words of SQL and of shells that are words of English, too, or stand among them.
#[rustfmt::skip]
const CODE: &[u128] = &list([
    "all", "alter", "analyse", "and", "as", "bash", "benchmark", "by", "case", "cast", "cat", "chmod",
    "convert", "create", "curl", "declare", "delay", "delete", "distinct", "div", "do", "done", "drop", "echo",
    "elif", "else", "end", "eval", "exec", "execute", "false", "fi", "for", "from", "function", "group", "having",
    "if", "in", "insert", "into", "is", "join", "let", "like", "limit", "mod", "nc", "not", "null", "offset", "on",
    "or", "order", "outfile", "ping", "print", "procedure", "regexp", "return", "rlike", "rm", "select", "set",
    "sh", "sleep", "sudo", "system", "table", "then", "true", "union", "update", "values", "var", "waitfor", "wget",
    "when", "where", "while", "xor",
]);

#[cfg(test)]
mod tests;
