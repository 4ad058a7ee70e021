/// A request as an access log shows it. An absent field is empty; `-` counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Http<'a> {
    /// `GET`, … Empty when the request line was junk.
    pub method: &'a [u8],
    /// Origin form with query; a junk request line whole.
    pub uri: &'a [u8],
    /// `HTTP/1.1`, …
    pub protocol: &'a [u8],
    /// As logged; some servers write 0 where no answer was sent.
    pub status: Option<u16>,
    /// Size of the answer in bytes.
    pub bytes: Option<u64>,
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    /// The authenticated user.
    pub user: &'a [u8],
    /// The virtual host, where the log names one.
    pub host: &'a [u8],
    /// What proxies say of the client: the text of X-Forwarded-For, Forwarded or a header with one
    /// address. Anybody can send it; it is believed of trusted proxies alone.
    pub forwarded: &'a [u8],
}

impl<'a> Http<'a> {
    /// The URI without its query.
    pub fn path(&self) -> &'a [u8] {
        memchr::memchr(b'?', self.uri).map_or(self.uri, |at| &self.uri[..at])
    }
}
