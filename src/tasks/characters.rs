/// The characters of a text, numbered in the order of their code points.
#[derive(Clone, Debug, PartialEq)]
pub struct Characters(Vec<char>);

impl Characters {
    /// The characters of a text.
    pub fn of(text: &str) -> Self {
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        Self(characters)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The numbers of a text's characters; `None` stands for one that is not among these.
    pub fn encode(&self, text: &str) -> Option<Vec<i64>> {
        text.chars()
            .map(|character| self.0.binary_search(&character).ok())
            .map(|number| number.map(|number| number as i64))
            .collect()
    }

    /// The text of numbers; those that are of no character are left out.
    pub fn decode(&self, numbers: &[i64]) -> String {
        numbers
            .iter()
            .filter_map(|number| self.0.get(usize::try_from(*number).ok()?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_its_numbers() {
        let characters = Characters::of("tő be or not");
        let numbers = characters.encode("not ő").expect("all of them occur");
        assert_eq!(characters.count(), 8);
        assert_eq!(characters.decode(&numbers), "not ő");
        assert_eq!(characters.encode("x"), None);
    }
}
