//! What the tests of the networks share.

use burn::module::Module;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};

pub(crate) type TestBackend = burn_ndarray::NdArray;

/// Loads the stored form of one module into another type of module, as a checkpoint file would carry it.
pub(crate) fn through_a_file<S, T>(source: S, target: T) -> T
where
    S: Module<TestBackend>,
    T: Module<TestBackend>,
{
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::new();
    let bytes = recorder
        .record(source.into_record(), ())
        .expect("a record can be serialized");
    let record = recorder
        .load(bytes, &Default::default())
        .expect("both modules have the same names and shapes");
    target.load_record(record)
}
