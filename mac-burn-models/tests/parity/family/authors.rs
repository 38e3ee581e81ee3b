//! What the authors' repository says about a network by the place of its file.

/// The number of classes that is the default of the callables of a file, and the file's name.
pub(super) fn classes_and_file(path: &str) -> Option<(usize, &str)> {
    let (folder, file) = path.split_once("/models/")?;
    match folder {
        "cifar10" => Some((10, file)),
        "cifar100" => Some((100, file)),
        _ => None,
    }
}
