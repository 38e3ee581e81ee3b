use super::*;

const TEXT: &str = "to be\nor not";

fn read(options: &[&str]) -> Result<Args, String> {
    let line = ["char-gpt"].iter().chain(options);
    Args::try_read(line).map_err(|error| error.to_string())
}

fn prompt(options: &[&str], text: &str) -> Result<String, String> {
    let characters = Characters::of(text);
    let prompt = read(options)?.prompt(text, &characters);
    let prompt = prompt.map_err(|error| error.to_string())?;
    Ok(characters.decode(&prompt))
}

#[test]
fn a_wrong_option_is_answered_with_what_is_allowed() {
    for (options, answer) in [
        ("--heads 5", "5 does not divide 64"),
        ("--context-size 0", "0 is not in 1.."),
        ("--temperature 0", "must be a number in (0, inf)"),
        ("--temperature inf", "must be a number in (0, inf)"),
        ("--temperature -1", "must be a number in (0, inf)"),
        ("--generate x", "invalid digit"),
        ("--every 0", "0 is not in 1.."),
        ("--momentum 1", "must be a number in [0, 1)"),
        ("--optimizer sgd --tcov 2", "--tcov is an option of MAC"),
    ] {
        let options: Vec<&str> = options.split_whitespace().collect();
        let network = read(&options).and_then(|args| {
            let network = args.network(8);
            network.map_err(|error| error.to_string())
        });
        let error = network.expect_err(answer);
        assert!(error.contains(answer), "{options:?}: {error}");
    }
}

#[test]
fn options_reach_the_network() {
    let options = "--context-size 6 --d-model 8 --heads 2 --layers 1";
    let options: Vec<&str> = options.split_whitespace().collect();
    let network = read(&options).expect("the options are right").network(11);
    let network = network.expect("2 divides 8");
    let sizes = (network.context_size, network.d_model, network.n_heads);
    assert_eq!(sizes, (6, 8, 2));
    assert_eq!((network.n_layers, network.vocab_size), (1, 11));
}

/// Breaks when a text without a new line needs a prompt.
#[test]
fn a_prompt_is_of_the_text() {
    assert_eq!(prompt(&[], TEXT).as_deref(), Ok("\n"));
    assert_eq!(prompt(&[], "été").as_deref(), Ok("é"));
    assert_eq!(prompt(&["--prompt", "not"], TEXT).as_deref(), Ok("not"));
    for wrong in ["nothing", ""] {
        let error = prompt(&["--prompt", wrong], TEXT).expect_err(wrong);
        let answer = format!("--prompt {wrong:?} must have one or more characters");
        assert!(error.contains(&answer), "{error}");
    }
}

/// Breaks when a run goes on with another text or network.
#[test]
fn a_run_continues_with_the_same_text_and_network_only() {
    let lines = |options: &[&str], text: &str| {
        let args = read(options).expect("the options are right");
        let network = args.network(11).expect("the heads divide the size");
        let config = RunConfig::new(text, network);
        serde_json::to_string(&config).expect("it can be written")
    };
    assert_eq!(lines(&["--generate", "5"], TEXT), lines(&[], TEXT));
    assert_ne!(lines(&[], "to be\nor now"), lines(&[], TEXT));
    for option in ["--context-size", "--d-model", "--heads", "--layers"] {
        assert_ne!(lines(&[option, "8"], TEXT), lines(&[], TEXT), "{option}");
    }
}
