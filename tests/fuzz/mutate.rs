//! Inputs that are nearly right.

/// Makes inputs out of others; the same ones for the same seed.
pub(crate) struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

/// What hurts many decoders.
const WORDS: [&str; 16] = [
    "",
    "\0",
    "\n",
    "\"",
    "\\",
    "-1",
    "0",
    "9223372036854775808",
    "1e400",
    "null",
    "\u{feff}",
    "\u{202e}",
    "\\u0000",
    "{",
    "[",
    "]}",
];

impl Mutator {
    pub(crate) fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { state: hash(&seed.to_le_bytes()) | 1, words }
    }

    /// A mutation of one of the inputs.
    pub(crate) fn next(&mut self, inputs: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, inputs);
        }
        input.truncate(longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(32)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.byte(),
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                let times = 1 + self.below(64);
                input.splice(at..at, part.repeat(times));
            }
            4 => {
                let word = self.word();
                input.splice(at..end, word.bytes());
            }
            5 => {
                let word = self.word();
                input.splice(at..at, word.bytes());
            }
            6 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(256)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            7 => {
                // Nesting, which recursion must survive.
                let opener = ["[", "{", "(", "a {", "- ", "{\"a\":", "[[", "not ("][self.below(8)];
                let depth = 1 + self.below(2000);
                input.splice(at..at, opener.repeat(depth).bytes());
            }
            _ => input.truncate(at),
        }
    }

    fn word(&mut self) -> &'static str {
        let position = self.below(WORDS.len() + self.words.len());
        WORDS.get(position).or_else(|| self.words.get(position - WORDS.len())).copied().unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or_default()
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let drawn = hash(&self.state.to_le_bytes());
        usize::try_from(drawn % limit.max(1) as u64).unwrap_or_default()
    }
}

/// A number for some bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
