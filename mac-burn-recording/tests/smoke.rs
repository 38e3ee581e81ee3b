//! smoke
use burn::backend::{Autodiff, Flex};
use burn::module::Module;
use burn::nn::{conv::*, *};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Distribution, Tensor, backend::Backend};
use mac_burn::{KfacConfig, MacConfig, MacConv2d, MacLinear};
use mac_burn_recording::Recording;

type A = Autodiff<Flex>;
type R = Recording<A>;

#[derive(Module, Debug)]
struct Plain<B: Backend> { conv: Conv2d<B>, hidden: Linear<B>, output: Linear<B> }
#[derive(Module, Debug)]
struct Rec<B: Backend> { conv: MacConv2d<B>, hidden: MacLinear<B>, output: MacLinear<B> }
macro_rules! forward { ($t:ident) => { impl<B: Backend> $t<B> { fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
    let x = burn::tensor::activation::relu(self.conv.forward(x));
    let x = burn::tensor::activation::relu(self.hidden.forward(x.flatten::<2>(1, 3)));
    self.output.forward(x)
} } } }
forward!(Plain); forward!(Rec);
fn plain<B: Backend>(d: &B::Device) -> Plain<B> { B::seed(d, 3); Plain { conv: Conv2dConfig::new([1, 4], [3, 3]).init(d), hidden: LinearConfig::new(4 * 16, 8).init(d), output: LinearConfig::new(8, 3).init(d) } }
fn train<B: AutodiffBackend, M: burn::module::AutodiffModule<B>>(mut m: M, f: impl Fn(&M, Tensor<B, 4>) -> Tensor<B, 2>, kfac: bool, d: &B::Device) -> (String, M) {
    let mut o = if kfac { KfacConfig::new().with_tinv(2).init() } else { MacConfig::new().with_tcov(2).with_tinv(2).init() };
    for step in 0..5 {
        B::seed(d, step);
        let x = Tensor::random([4, 1, 6, 6], Distribution::Default, d);
        let loss = f(&m, x).square().mean();
        let g = GradientsParams::from_grads(loss.backward(), &m);
        m = o.step(0.05, m, g);
    }
    (o.report(&m).to_string(), m)
}
#[test]
fn same() {
    for kfac in [false, true] {
        let d = Default::default();
        let (report, m) = train::<R, _>(plain::<R>(&d), |m, x| m.forward(x), kfac, &d);
        let p = plain::<A>(&d);
        let r = Rec { conv: p.conv.into(), hidden: p.hidden.into(), output: p.output.into() };
        let (recorded, r) = train::<A, _>(r, |m, x| m.forward(x), kfac, &d);
        println!("{report}\n{recorded}");
        m.output.weight.val().into_data().assert_eq(&r.output.weight.val().into_data(), true);
        m.conv.weight.val().into_data().assert_eq(&r.conv.weight.val().into_data(), true);
        m.hidden.bias.unwrap().val().into_data().assert_eq(&r.hidden.bias.clone().unwrap().val().into_data(), true);
        assert_eq!(report, recorded);
    }
}
