/// A seed for a part of a run, so that parts (steps, epochs) and runs of other seeds draw different numbers.
pub fn stream(seed: u64, part: usize) -> u64 {
    // A large odd number spreads neighbouring seeds apart.
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(part as u64)
}
