use super::*;
use crate::Recording;
use burn::backend::{Autodiff, Flex};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;

type B = Recording<Autodiff<Flex>>;

const MANY: usize = 3000;
/// More than are known of before they are looked through, with those of other tests.
const BOUND: usize = 600;

fn layer() -> Linear<B> {
    LinearConfig::new(3, 2).init(&Default::default())
}

fn pass(layer: &Linear<B>) {
    let input = Tensor::<B, 2>::ones([2, 3], &Default::default());
    layer.forward(input).sum().backward();
}

/// Breaks when leaves are looked through only where there are views, or leaves made of others.
#[test]
fn layers_that_are_gone_are_forgotten() {
    for _ in 0..MANY {
        pass(&layer());
        assert!(count() < BOUND, "{} leaves and views are known", count());
    }
}

/// Breaks when the leaves of forks that are gone are kept for the original, or views for the leaf.
#[test]
fn forks_and_views_that_are_gone_are_forgotten() {
    let layer = layer();
    let device = Default::default();
    for _ in 0..MANY {
        pass(&layer.clone().fork(&device));
        let input = Tensor::<B, 2>::ones([2, 2], &device);
        let output = input.matmul(layer.weight.val().transpose());
        output.sum().backward();
        assert!(count() < BOUND, "{} leaves and views are known", count());
    }
}

/// Breaks when more and more leaves that are gone are kept, the more living ones there are.
#[test]
fn leaves_that_live_keep_none_that_are_gone() {
    let layers = [(); 60].map(|()| layer());
    for original in &layers {
        original.clone().fork(&Default::default());
    }
    for _ in 0..MANY {
        layers[0].clone().fork(&Default::default());
        assert!(count() < BOUND, "{} leaves and views are known", count());
        // Burn lets go of leaves in the next backward pass.
        Tensor::<B, 1>::ones([1], &Default::default())
            .require_grad()
            .backward();
    }
}

/// Breaks when a leaf is taken for gone that has a tensor: after its first backward pass the graph refers to it no longer.
#[test]
fn a_leaf_with_one_tensor_is_known_on() {
    let first = layer();
    pass(&first);
    let known = |layer: &Linear<B>| {
        let tensor = layer.weight.val().into_primitive().tensor();
        let recorder = Leaf::new(&tensor.rc).existing_recorder::<B>();
        recorder.map(|recorder| format!("{recorder:?}"))
    };
    let before = known(&first);
    assert!(before.is_some());
    let other = layer();
    for _ in 0..MANY {
        pass(&other.clone().fork(&Default::default()));
    }
    assert_eq!(known(&first), before);
}
