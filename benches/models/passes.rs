use crate::harness::{Comparison, Contender, Options, timed};
use crate::network::Network;
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn_models::{
    DenseNet, DenseNetConfig, Gpt, GptConfig, LeNet, LeNetConfig, ResNet, ResNetConfig, Swin,
    SwinConfig, VisionTransformer, VisionTransformerConfig, WideResNet, WideResNetConfig,
};

const CLASSES: usize = 10;

/// Prints the times of a forward and a backward pass of each network.
pub(crate) fn table<B: AutodiffBackend>(options: &Options) {
    if !options.wants_case("passes") {
        return;
    }
    let device = B::Device::default();
    let headers = ["network", "batch", "parameters"];
    let contenders = contenders::<B>(options.quick(), &device);
    let comparison = Comparison::new(&headers, contenders, &[]).run(options);
    println!("passes: forward and backward, each recorded\n\n{comparison}\n");
}

fn contenders<B: AutodiffBackend>(quick: bool, device: &B::Device) -> Vec<Contender<'static>> {
    let few = |count| if quick { 1 } else { count };
    let small = |count| [few(count), 3, 32, 32];
    let large = |count| [few(count), 3, 224, 224];

    let lenet5: LeNet<B> = LeNetConfig::mac_lenet5().init(device);
    let resnet20: ResNet<B> = ResNetConfig::resnet20(CLASSES).init(device);
    let resnet50: ResNet<B> = ResNetConfig::resnet50().init(device);
    let densenet: DenseNet<B> = DenseNetConfig::densenet121_cifar(CLASSES).init(device);
    let wide_resnet: WideResNet<B> = WideResNetConfig::wrn_28_10(CLASSES).init(device);
    let deit: VisionTransformer<B> = VisionTransformerConfig::deit_small().init(device);
    let swin: Swin<B> = SwinConfig::tiny().init(device);
    let config = GptConfig::characters();
    let gpt: Gpt<B> = config.init(device);
    let tokens = [few(4), config.context_size];
    let vocabulary = config.vocab_size;

    vec![
        images("LeNet-5", small(128), lenet5, LeNet::forward, device),
        images("ResNet-20", small(16), resnet20, ResNet::forward, device),
        images("ResNet-50", large(2), resnet50, ResNet::forward, device),
        images(
            "DenseNet-121 (CIFAR)",
            small(4),
            densenet,
            DenseNet::forward,
            device,
        ),
        images(
            "WRN-28-10",
            small(2),
            wide_resnet,
            WideResNet::forward,
            device,
        ),
        images("DeiT-S", large(2), deit, VisionTransformer::forward, device),
        images("Swin-T", large(2), swin, Swin::forward, device),
        contender(Network::of_tokens(
            "GPT, characters",
            tokens,
            vocabulary,
            gpt,
            Gpt::forward,
            device,
        )),
    ]
}

fn images<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    name: &'static str,
    shape: [usize; 4],
    model: M,
    forward: fn(&M, Tensor<B, 4>) -> Tensor<B, 2>,
    device: &B::Device,
) -> Contender<'static> {
    contender(Network::of_images(name, shape, model, forward, device))
}

fn contender<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    network: Network<B, M>,
) -> Contender<'static> {
    let Network { name, model, batch } = network;
    let parameters = model.num_params().to_string();
    Contender {
        cells: vec![name.into(), batch.shape(), parameters],
        work: Box::new(move || {
            let device = batch.device.clone();
            timed::<B, _>(&device, || batch.gradients(&model)).0
        }),
    }
}
