//! Masking (RFC 6455 §5.3).

/// Bytes per step; the compiler turns one step into vector instructions.
const STEP: usize = 32;

/// Masks or unmasks `bytes` in place. `position` is the offset of `bytes` within the frame's payload, so that a payload
/// can be worked on in pieces.
pub fn apply_mask(bytes: &mut [u8], key: [u8; 4], position: usize) {
    let mut rotated = key;
    rotated.rotate_left(position % 4);
    let mut wide = [0; STEP];
    for (index, byte) in wide.iter_mut().enumerate() {
        *byte = rotated[index % 4];
    }
    let (steps, tail) = bytes.as_chunks_mut::<STEP>();
    for step in steps {
        for (byte, mask) in step.iter_mut().zip(wide) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in tail.iter_mut().zip(wide) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::apply_mask;

    /// Every length around a step, every rotation, every split: equal to the definition in RFC 6455 §5.3.
    #[test]
    fn pieces_give_what_the_definition_gives() {
        let key = [0x11, 0x22, 0x44, 0x88];
        for length in 0..100_usize {
            let plain: Vec<u8> = (0..length).map(|index| index as u8 ^ 0x5a).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for split in 0..=length {
                let mut actual = plain.clone();
                let (left, right) = actual.split_at_mut(split);
                apply_mask(left, key, 0);
                apply_mask(right, key, split);
                assert_eq!(actual, expected, "length {length}, split {split}");
            }
        }
    }
}
