//! A codec that a test defines itself.

use myelon::codec::{Codec, CodecError, ZeroCopyCodec};

/// Text as its own encoding. Bytes that are not UTF-8 cannot be decoded, and "forbidden" cannot be encoded.
#[derive(Debug, PartialEq)]
pub(crate) struct Text(pub(crate) String);

impl Codec for Text {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match self.0.as_str() {
            "forbidden" => Err(CodecError::custom("this text is forbidden")),
            text => Ok(text.as_bytes().to_vec()),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Self::access(bytes).map(|text| Self(text.to_owned()))
    }
}

impl ZeroCopyCodec for Text {
    type Archived<'a> = &'a str;

    fn access(bytes: &[u8]) -> Result<&str, CodecError> {
        str::from_utf8(bytes).map_err(CodecError::custom)
    }
}
