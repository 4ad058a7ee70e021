//! A URI taken apart and decoded, for who must show what a client sent: parts in pairs, where
//! rules look at each text alone.

use super::decode::{Plus, decode, fold, split_once};

/// A URI as the application behind the server gets it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlainUri {
    pub path: Vec<u8>,
    /// Names and values of the query, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PlainUri {
    /// Takes `uri`, as logged, apart; folded as rules see it.
    pub fn of(uri: &[u8]) -> PlainUri {
        let (path, query) = split_once(uri, b'?').map_or((uri, None), |(path, query)| (path, Some(query)));
        let mut parameters = vec![];
        let mut rest = query;
        while let Some(pairs) = rest {
            let (pair, after) = split_once(pairs, b'&').map_or((pairs, None), |(pair, after)| (pair, Some(after)));
            let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
            parameters.push((plain(name, Plus::Space), plain(value, Plus::Space)));
            rest = after;
        }
        PlainUri { path: plain(path, Plus::Literal), parameters }
    }
}

fn plain(raw: &[u8], plus: Plus) -> Vec<u8> {
    let (mut decoded, mut folded) = (vec![], vec![]);
    decode(raw, plus, &mut decoded);
    fold(&decoded, &mut folded);
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_comes_apart_decoded() {
        let uri = PlainUri::of(b"/a%2fb+c?q=1%2527+or&empty&=x&q=%26amp%3B\\x22");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&uri.path), "/a/b+c");
        let pairs: Vec<_> = uri.parameters.iter().map(|(name, value)| (text(name), text(value))).collect();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("q", "1' or"), ("empty", ""), ("", "x"), ("q", "&\"")]);
        assert_eq!(PlainUri::of(b"/"), PlainUri { path: b"/".to_vec(), parameters: vec![] });
    }
}
