//! How many tokens a text is for a model: an estimate from its characters, fitted to real vocabularies
//! (docs/compression.md says how well). None of them is known here.

/// Tokens of each kind of character, for one family of vocabularies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens {
    /// Of a run of letters, and of each of its letters.
    word: f64,
    letter: f64,
    /// Of a run of digits, and of each of its digits.
    number: f64,
    digit: f64,
    /// Of a run of signs, and of each of its signs.
    signs: f64,
    sign: f64,
    /// Of a byte outside ASCII.
    other: f64,
}

impl Default for Tokens {
    /// For models that nothing is known of: the dearer family.
    fn default() -> Tokens {
        Tokens::DIGIT_BY_DIGIT
    }
}

impl Tokens {
    /// Vocabularies with up to three digits in a token: OpenAI's since GPT-3.5, and Llama 3's.
    pub const THREE_DIGITS: Tokens =
        Tokens { word: 0.39, letter: 0.175, number: 1.77, digit: 0.01, signs: 0.28, sign: 0.295, other: 0.445 };
    /// Vocabularies with a token for each digit: Qwen's, Phi's, Llama 2's, SmolLM's.
    pub const DIGIT_BY_DIGIT: Tokens =
        Tokens { word: 0.67, letter: 0.2, number: 1.1, digit: 0.69, signs: 0.41, sign: 0.31, other: 0.56 };

    /// The estimate for the model called `name`.
    pub fn of_model(name: &str) -> Tokens {
        let name = name.to_ascii_lowercase();
        if ["gpt", "llama-3", "llama3", "llama-4"].iter().any(|part| name.contains(part)) {
            Tokens::THREE_DIGITS
        } else {
            Tokens::DIGIT_BY_DIGIT
        }
    }

    /// Tokens of `text`; texts that follow each other have about the sum.
    pub fn count(&self, text: &[u8]) -> f64 {
        let (mut runs, mut all) = ([0u32; 4], [0u32; 4]);
        let mut previous = Class::Space;
        for &byte in text {
            let class = CLASSES[usize::from(byte)];
            all[class as usize & 3] += u32::from(class != Class::Space);
            runs[class as usize & 3] += u32::from(class != previous && class != Class::Space);
            previous = class;
        }
        let [words, numbers, signs, _] = runs.map(f64::from);
        let [letters, digits, sign, other] = all.map(f64::from);
        words * self.word
            + letters * self.letter
            + numbers * self.number
            + digits * self.digit
            + signs * self.signs
            + sign * self.sign
            + other * self.other
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Letter = 0,
    Digit = 1,
    Sign = 2,
    Other = 3,
    /// Counts for nothing: it is a part of the word behind it.
    Space = 4,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b' ' => Class::Space,
            _ => Class::Sign,
        };
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_texts_have_more_tokens_and_digits_cost_by_family() {
        let (three, one) = (Tokens::THREE_DIGITS, Tokens::DIGIT_BY_DIGIT);
        assert_eq!(three.count(b""), 0.0);
        assert!(three.count(b"a GET of /x") > three.count(b"a GET"));
        assert!(one.count(b"203.0.113.7 51234") > 1.2 * three.count(b"203.0.113.7 51234"));
        assert_eq!(Tokens::of_model("openai/gpt-4o"), three);
        assert_eq!(Tokens::of_model("qwen-3-32b"), one);
    }
}
