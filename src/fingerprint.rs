//! Numbers by which data are told apart.

/// The FNV-1a hash of bytes, such as those of a text, in 64 bits: the same on each machine and with each version of Rust, so that it can be
/// stored.
pub fn fingerprint(bytes: impl AsRef<[u8]>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.as_ref().iter().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those that the authors of the hash publish (FNV-1a, 64 bits).
    #[test]
    fn texts_have_the_published_numbers() {
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
    }
}
