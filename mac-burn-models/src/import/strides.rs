use std::collections::BTreeSet;
use std::error::Error;

use burn_store::pytorch::lazy_data::ZipSource;
use burn_store::pytorch::pickle_reader::{Object, OpCode, PickleError, read_pickle};

/// The names of the tensors of an archive whose values are stored in another order than that of their indices.
pub(super) fn strided(
    archive: &ZipSource,
) -> Result<BTreeSet<String>, Box<dyn Error + Send + Sync>> {
    let storages = archive.data_files();
    let first = storages.first();
    // Without storages there are no values, in whatever order.
    let Some((folder, _)) = first.and_then(|storage| storage.rsplit_once("data/")) else {
        return Ok(BTreeSet::new());
    };
    let pickle = archive.read_file(&format!("{folder}data.pkl"))?;

    Ok(strided_of(&pickle)?)
}

fn strided_of(pickle: &[u8]) -> Result<BTreeSet<String>, PickleError> {
    let parts = read_pickle(&mut in_parts(pickle).as_slice())?;
    let mut names = BTreeSet::new();
    collect(&parts, &mut Vec::new(), &mut names);

    Ok(names)
}

/// The same pickle with calls left as they are written, for Burn's reader makes tensors of them without their strides.
///
/// A call is REDUCE, and that reader calls nothing for NEWOBJ. A call without arguments stays: it makes a dictionary.
fn in_parts(pickle: &[u8]) -> Vec<u8> {
    let mut parts = pickle.to_vec();
    let (mut at, mut before) = (0, OpCode::Proto);
    while let Some(Ok(code)) = pickle.get(at).map(|byte| OpCode::try_from(*byte)) {
        if code == OpCode::Reduce && before != OpCode::EmptyTuple {
            parts[at] = OpCode::NewObj as u8;
        }
        at += 1 + operand(&code, pickle.get(at + 1..).unwrap_or_default());
        before = code;
    }

    parts
}

/// How many bytes after a code belong to it.
fn operand(code: &OpCode, rest: &[u8]) -> usize {
    let counted = |bytes: usize| {
        let count = rest.iter().take(bytes).rev();
        bytes + count.fold(0, |count, byte| count << 8 | usize::from(*byte))
    };
    let lines = |lines| {
        let lines = rest.split_inclusive(|byte| *byte == b'\n').take(lines);
        lines.map(<[u8]>::len).sum()
    };
    match code {
        OpCode::Proto | OpCode::BinInt1 | OpCode::BinPut | OpCode::BinGet => 1,
        OpCode::BinInt2 => 2,
        OpCode::BinInt | OpCode::LongBinPut | OpCode::LongBinGet => 4,
        OpCode::BinFloat => 8,
        OpCode::ShortBinString | OpCode::Long1 => counted(1),
        OpCode::BinUnicode => counted(4),
        OpCode::Int => lines(1),
        OpCode::Global => lines(2),
        _ => 0,
    }
}

/// Adds the names of the tensors below a path, which Burn's reader joins by dots.
fn collect<'a>(object: &'a Object, path: &mut Vec<&'a str>, names: &mut BTreeSet<String>) {
    match object {
        Object::Dict(entries) => {
            for (name, value) in entries {
                path.push(name);
                collect(value, path, names);
                path.pop();
            }
        }
        Object::Reduce { args, .. } => {
            let Object::Tuple(args) = args.as_ref() else {
                return;
            };
            match args.as_slice() {
                // Storage, offset, shape and strides make a tensor.
                [_, _, Object::Tuple(shape), Object::Tuple(strides), ..]
                    if !in_order(shape, strides) =>
                {
                    names.insert(path.join("."));
                }
                // A tensor makes a parameter.
                [tensor @ Object::Reduce { .. }, ..] => collect(tensor, path, names),
                _ => (),
            }
        }
        _ => (),
    }
}

/// Whether values follow each other in the order of their indices; what is there once has no order.
fn in_order(shape: &[Object], strides: &[Object]) -> bool {
    let number = |object: &Object| match object {
        Object::Int(number) => *number,
        _ => -1,
    };
    let mut next = 1;
    let mut axes = shape.iter().zip(strides).rev();
    axes.all(|(size, stride)| {
        let fits = number(size) == 1 || number(stride) == next;
        next *= number(size);
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(shape: &[i64], strides: &[i64]) -> bool {
        let numbers = |numbers: &[i64]| -> Vec<Object> {
            numbers.iter().map(|number| Object::Int(*number)).collect()
        };
        in_order(&numbers(shape), &numbers(strides))
    }

    /// Breaks when a kernel in `channels_last`, a transposed matrix or a repeated value is read in the order of its storage,
    /// or a stride counts along which there is one value.
    #[test]
    fn strides_are_in_order_where_values_are() {
        assert!(orders(&[], &[]));
        assert!(orders(&[3, 2, 5, 4], &[40, 20, 4, 1]));
        assert!(!orders(&[3, 2, 5, 4], &[40, 1, 8, 2]));
        assert!(orders(&[3, 1, 5, 4], &[20, 1, 4, 1]));
        assert!(orders(&[3, 2, 1, 1], &[2, 1, 2, 2]));
        assert!(!orders(&[3, 2], &[1, 3]));
        assert!(!orders(&[3], &[0]));
    }

    /// Breaks when a code's operand is read as codes, or the name of a tensor is not the one of Burn's reader: below its
    /// parts, and of a parameter as of a tensor.
    #[test]
    fn tensors_are_found_by_their_names() {
        // {"R)R": 2.5, "net": OrderedDict(w=tensor(3, 2), v=Parameter(tensor(2, 2)))}
        let storage =
            b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ";
        let tensor = |sizes: &[u8; 4]| {
            let [rows, columns, down, across] = *sizes;
            let axes = [
                b'K', rows, b'K', columns, 0x86, b'K', down, b'K', across, 0x86,
            ];
            let start: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n(";
            let end: &[u8] = b"\x89ccollections\nOrderedDict\n)RtqRR";
            [start, storage, b"K\0", &axes, end].concat()
        };
        let parameter = [
            b"ctorch._utils\n_rebuild_parameter\n".as_slice(),
            &tensor(&[2, 2, 1, 2]),
            b"\x88ccollections\nOrderedDict\n)R\x87R",
        ];
        let pickle = |strides: [u8; 2]| {
            let [down, across] = strides;
            [
                b"\x80\x02}(X\x03\0\0\0R)RG@\x04\0\0\0\0\0\0X\x03\0\0\0net".as_slice(),
                b"ccollections\nOrderedDict\n)R(X\x01\0\0\0w",
                &tensor(&[3, 2, down, across]),
                b"X\x01\0\0\0v",
                &parameter.concat(),
                b"uu.",
            ]
            .concat()
        };
        let found = |strides| strided_of(&pickle(strides)).expect("it is a pickle");

        assert_eq!(found([2, 1]), BTreeSet::from(["net.v".to_owned()]));
        let both = ["net.v", "net.w"].map(str::to_owned);
        assert_eq!(found([1, 3]), BTreeSet::from(both));
    }
}
