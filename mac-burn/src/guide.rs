//! A guide to training with MAC: the settings and what they do, the programs that need a second look, and what to do about what
//! a report shows.
//!
//! - [What to try first](#what-to-try-first)
//! - [Damping](#damping)
//! - [Statistics and schedules](#statistics-and-schedules)
//! - [Learning rate](#learning-rate)
//! - [The first layer](#the-first-layer)
//! - [An auxiliary optimizer](#an-auxiliary-optimizer)
//! - [Mean and variance, and steps of known length](#mean-and-variance-and-steps-of-known-length)
//! - [Other curvatures: FOOF, Eva, K-FAC, SMAC](#other-curvatures-foof-eva-k-fac-smac)
//! - [Accumulation, devices and threads](#accumulation-devices-and-threads)
//! - [Target networks, acting policies, GANs](#target-networks-acting-policies-gans)
//! - [Saving and resuming](#saving-and-resuming)
//! - [Converting a model](#converting-a-model)
//! - [A model that cannot be changed](#a-model-that-cannot-be-changed)
//! - [Layers](#layers)
//! - [Layers of your own](#layers-of-your-own)
//! - [Troubleshooting](#troubleshooting)
//!
//! # What to try first
//!
//! | network | setting | `lr` given to `step` | `lr_factor` of the auxiliary AdamW |
//! |---|---|---|---|
//! | convolutional | [`MacConfig::convolutional()`](crate::MacConfig::convolutional) | AdamW's | 1 to 3 |
//! | transformer | [`MacConfig::transformer()`](crate::MacConfig::transformer) | AdamW's | 3 to 6 |
//! | MLP | [`MacConfig::mlp()`](crate::MacConfig::mlp) | AdamW's | 1 to 3 |
//! | any, by the paper's method | [`MacConfig::new()`](crate::MacConfig::new) or one of the authors' settings | SGD's | AdamW's rate / SGD's rate, such as 0.01 |
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::optim::AdamWConfig;
//! use mac_burn::{MacConfig, MacError, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//!
//! # fn main() -> Result<(), MacError> {
//! let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.0).init();
//! let optim = MacConfig::transformer()
//!     // The layer that makes the output.
//!     .with_skip_layers(vec!["**.head".into()])
//!     .with_auxiliary_weight_decay(0.05)
//!     .init::<B, MacLinear<B>>()
//!     // With three times the learning rate that is given to `step`.
//!     .with_auxiliary_optimizer(adamw, 3.0)?;
//! # Ok(())
//! # }
//! ```
//!
//! The first three go beyond the paper, see [mean and variance](#mean-and-variance-and-steps-of-known-length). Where an orthogonal step takes too much of the time,
//! [`RowsAndColumns`](crate::StepForm::RowsAndColumns) is the next to try.
//!
//! With orthogonal steps, leave the layer that makes the output to AdamW, as is done with Muon: an orthogonal step moves all outputs
//! alike, whether or not there is anything to learn for them. With a few classes that makes little difference; of an autoencoder's 784 pixels,
//! many of which are always black, it was half of the error. [`skip_layers`](crate::MacConfig::skip_layers) names the layer.
//!
//! Use `MacConfig::new()` and the step `Momentum`, the paper's method, when
//! - a learning rate, schedule and weight decay were tuned for SGD: they stay valid;
//! - the learning rate does not decay to 0, as in online learning, so that steps have to shrink with the gradient;
//! - you need an [input covariance](#the-first-layer) ([`InputCovariance`](crate::InputCovariance)), coupled weight decay or
//!   [`max_preconditioned_norm`](crate::MacConfig::max_preconditioned_norm).
//!
//! To put MAC in front of another optimizer use [`init_preconditioner`](crate::MacConfig::init_preconditioner), for which `step` has no
//! meaning.
//!
//! # Damping
//!
//! A layer's curvature is `ā āᵀ`, a matrix of rank one, and says nothing of any direction but that of the mean input
//! `ā = [x̄ ; 1]` (`x̄` for a layer without a bias). The damping `ρ` stands for the curvature of all other directions. So it is not a
//! small number that keeps an inverse from failing, as in many second-order methods, but the scale that `‖ā‖²` is compared
//! with. The part of the gradient that acts on the mean input becomes
//!
//! ```text
//! g  ←  ρ / (ρ + ‖ā‖²) · g        along ā
//! g  ←  g                         along every direction at a right angle to it
//! ```
//!
//! A preconditioned gradient is therefore never longer than the gradient, and shorter only by what was taken out along `ā`:
//! there is no factor `1/ρ`. Damping sets the shape of a step and leaves its length to the learning rate, so the two can be
//! searched one after the other.
//!
//! - **`ρ` far above `‖ā‖²`**: the gain is near 1, and MAC is momentum SGD. At infinity it is that exactly.
//! - **`ρ` near `‖ā‖²`**: the common direction moves at half speed.
//! - **`ρ` far below `‖ā‖²`**: the common direction, and with it nearly all of a bias's gradient where inputs are small, is all but
//!   removed. Smaller values change little more: gains of 0.01 and of 0.001 make nearly the same step.
//!
//! [`report`](crate::Mac::report) prints `‖x̄‖²`, to which a bias adds 1, and the gain without a bias. Layers differ, often by
//! powers of ten: `‖x̄‖²` grows with the width of the input, and is mostly smaller behind a norm than behind a ReLU. One
//! damping serves all layers, so look for one at which the wide layers have a gain well below 1. The authors use 1 for ResNets
//! and 3 for transformers. A search in factors of three from 0.1 to 10 is wide enough. Damping may follow a schedule of its
//! own:
//!
//! ```
//! # use burn::nn::LinearConfig;
//! # use mac_burn::{MacConfig, MacError, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # fn main() -> Result<(), MacError> {
//! let mut optim = MacConfig::new().with_damping(10.0).init::<B, MacLinear<B>>();
//! // After each epoch:
//! let damping = optim.preconditioner().damping();
//! optim.set_damping((damping * 0.8).max(1.0))?;
//! # assert_eq!(optim.preconditioner().damping(), 8.0);
//! # Ok(())
//! # }
//! ```
//!
//! The column `mean's share`, `‖ā‖² / E‖a‖²`, says whether there is anything to gain: it is the share of the inputs' second moment
//! `E[a aᵀ]` that `ā āᵀ` explains. It is between 0, where inputs have no common direction, as behind a norm without a shift, and
//! 1, where all are alike. The rest of the second moment MAC takes for a multiple of the identity. Where the share is a few hundredths,
//! MAC differs from SGD only along `ā`, which is mostly the bias then: with a damping far below `‖ā‖²` it holds the bias still. Where
//! it is a third and more, a rank-one curvature is a real part of the curvature. Behind small inputs the 1 of a bias is most of `a`,
//! and the share is near 1 by that alone. For a value projection it is approximate, see
//! [`LayerReport`](crate::LayerReport::mean_share). [`spectrum`](crate::spectrum) measures the share with the eigenvalues beside it.
//!
//! On the output side MAC takes the second moment `P = E[g gᵀ]` of the gradients at a layer's outputs for a multiple of the identity.
//! [`OutputSpectrum`](crate::spectrum::OutputSpectrum) measures what that leaves out: nothing where the cosine between `P⁻¹G` and the
//! gradient `G` is near 1; where it is far from 1, the step of a curvature with an output side, such as [K-FAC's](crate::KfacConfig), is
//! another.
//!
//! # Statistics and schedules
//!
//! Every [`tcov`](crate::MacConfig::tcov)-th step takes the mean of its batch's inputs into a moving average with the decay
//! [`stat_decay`](crate::MacConfig::stat_decay), and every [`tinv`](crate::MacConfig::tinv)-th step takes the average into use;
//! the first step does both. The average starts at 0 and is divided by `1 − βⁿ` after `n` updates, so the first mean is that of
//! the first batch and nothing has to warm up. After that it remembers about `tcov / (1 − β)` steps: 100 with the defaults.
//!
//! The defaults are tuned for runs of many thousands of steps. A mean between two refreshes is up to `tinv` steps old, while
//! activations change fastest at the start. So **in a run of fewer than a few hundred steps set `tcov` and `tinv` to 1 to 5**.
//! It is steps of the optimizer that count: the generator of a GAN that takes 20 steps with a `tinv` of 50 keeps the mean of
//! its first batch to the end. The column `last refresh` of the report shows it. Recording costs two passes over a layer's input,
//! and a refresh some operations on vectors, so both are cheap; where activations drift, as in transformers, the authors
//! refresh as often as they record.
//!
//! # Learning rate
//!
//! This holds for the step `Momentum`, the default. With the presets [`convolutional`](crate::MacConfig::convolutional),
//! [`transformer`](crate::MacConfig::transformer) and [`mlp`](crate::MacConfig::mlp), and with every other
//! [`StepForm`](crate::StepForm), start at **AdamW's** learning rate: SGD's makes them diverge.
//!
//! Gradients keep their scale, so begin with **the learning rate that SGD with momentum has** on the network, with its warm-up
//! and decay, and search a factor of ten both ways. Adam divides each gradient by its size, and so its rates are usually ten to
//! a hundred times smaller: a transformer that is trained by MAC with the schedule of Adam hardly leaves the loss of guessing.
//! This does not mean that the damping is wrong. Momentum is in the step as in PyTorch's SGD (`v ← μ v + g`), so a momentum of 0.9 makes
//! steps up to ten times as long as the gradient. For limits of the step see [`max_grad_norm`](crate::MacConfig::max_grad_norm)
//! and [`max_preconditioned_norm`](crate::MacConfig::max_preconditioned_norm).
//!
//! # The first layer
//!
//! Inputs of a network are mostly standardised, so their mean is near 0 and the first layer's rank-one curvature says little.
//! But they do not change during training. An [`InputCovariance`](crate::InputCovariance) measures their second moment once,
//! over some or all training batches, and the layer takes the dense `(C + ρ I)⁻¹` for the whole run. It carries the factor
//! `1/ρ`, so with a damping far from 1 this layer moves on another scale than the others: leave it out there, or compare runs
//! with and without. It needs the step `Momentum`, the curvature `Mean` and no `auxiliary_biases`. The inverse is made on the host at `O(size³)`: of use for small patches and tables, not for inputs of many
//! thousand numbers. Measure it after the model's record has been loaded, which changes parameter ids.
//!
//! # An auxiliary optimizer
//!
//! Embeddings, norms, class tokens and position embeddings have no input with a mean, and take the step without preconditioning (with `Momentum` that of SGD) unless
//! [`with_auxiliary_optimizer`](crate::Mac::with_auxiliary_optimizer) hands them to another optimizer. **Transformers need
//! it**: with SGD their norms and embeddings lag far behind. Its rate is `lr_factor` times the `lr` given to `step`, so a schedule moves both.
//! With the step `Momentum` choose the factor so that the product is AdamW's usual rate, and search it before anything else; with the
//! presets for steps of known length [start at 1 to 6](#what-to-try-first). Layers that MAC should
//! leave to it, such as a head, are named by [`skip_layers`](crate::MacConfig::skip_layers).
//!
//! # Mean and variance, and steps of known length
//!
//! Two settings go beyond the paper; by default both are the paper's. [`curvature`](crate::MacConfig::curvature) may have the variance
//! of each input beside the mean, and [`step`](crate::MacConfig::step) may make a step whose length does not depend on the
//! gradient's. They are derived in ten lines. A layer is `y = Wᵀ x` with a weight `[inputs, outputs]` and a gradient `G`; `q = E[x²]`:
//!
//! ```text
//! E[x xᵀ] = Cov(x) + x̄ x̄ᵀ                                   what K-FAC has on the input side
//!         ≈ diag(d) + x̄ x̄ᵀ = A,   d = q − x̄² + δ v          v: the mean of q − x̄² where it is not 0, δ: the damping
//! x̃ = d^-½ x̄,   n = ‖x̃‖²
//! S = (I − x̃ x̃ᵀ / (√(1 + n) (√(1 + n) + 1))) d^-½           then SᵀS = A⁻¹ (Sherman–Morrison), so
//! z = S x   has   E[z zᵀ] ≈ S A Sᵀ = I                       inputs that are white
//! y = Wᵀ x = Vᵀ z   with   W = Sᵀ V                          the same layer, of white inputs
//! ∂L/∂V = S G                                                its gradient
//! V ← V − η F(S M)                                           a rule F of a momentum M, for the layer of white inputs
//! W ← W − η Sᵀ F(S M)                                        is this one for the layer itself
//! R = Sᵀ F(S M),   W ← (1 − η λ) W − 0.2 η R / rms(R)        with the length of AdamW's steps
//! ```
//!
//! The `≈` leaves out the covariances between inputs and adds the damping, so `z` is only roughly white; and `S` is taken for constant
//! over the memory of the momentum. `rms(R)` is over a whole matrix, and 0.2 is the root mean square of AdamW's steps in practice, in
//! learning rates (Liu et al. 2025, arXiv:2502.16982).
//!
//! `A` is divided by the mean of `d` in the program, so that gradients keep their scale where no step is normalized. With `F` the identity this
//! is `A⁻¹ M`, [`Normalized`](crate::StepForm::Normalized). With `F` the nearest orthogonal matrix
//! it is [`Orthogonal`](crate::StepForm::Orthogonal). `S` costs a product with a vector and an update of
//! rank one, and so does `Sᵀ`. What is kept is the momentum, and of each layer seven vectors of the input's size, eight on a processor (nine if an
//! input is 0 in the mean): averages of `x` and `x²`, the two in use, and those that steps are made with; of a fused projection, with its two means,
//! 17 and 23. AdamW keeps a second buffer of the
//! weight's size.
//!
//! Start at AdamW's learning rate, with a decay to 0: a step does not get shorter by itself. Use AdamW's weight decay for
//! [`weight_decay`](crate::MacConfig::weight_decay) too, where the presets have 0.05; what the auxiliary optimizer steps has
//! [`auxiliary_weight_decay`](crate::MacConfig::auxiliary_weight_decay). The damping `δ`
//! is relative to the mean variance, and can be left at 1. All recorded layers are stepped so, the last among them, which users of Muon leave to
//! AdamW; [`skip_layers`](crate::MacConfig::skip_layers) does that here.
//!
//! An input without variance would get the largest factor of all, `√((1 + δ) / δ)`, though what there is to learn of a constant is a bias.
//! It has the mean of `d` instead. Biases are left out of `A`, and best left to the auxiliary optimizer.
//!
//! **Relatives.** *Muon* (Jordan et al. 2024) is `Orthogonal` without `S`. Its learning rates carry over where it
//! has AdamW's length of steps (`AdjustLrFn::MatchRmsAdamW` of Burn), and not from its original scale. *Newton-Muon* (arXiv:2604.01472)
//! multiplies by the inverse of all of `E[x xᵀ]`, a matrix of the input's size, and its step is the orthogonal matrix made of that; here a root of the
//! inverse is applied before, and its transpose after. *SOAP* (arXiv:2409.11321) is Adam in the eigenvectors of averages of `G Gᵀ` and `Gᵀ G`. *Eva*
//! (arXiv:2308.02123) has a mean on either side, of inputs and of gradients at outputs, and no variances. *NorMuon* (arXiv:2510.05491) divides
//! neurons after orthogonalization by a moving average of their length. *Adafactor* (arXiv:1804.04235) keeps averages of the gradient's squares for
//! rows and columns; [`RowsAndColumns`](crate::StepForm::RowsAndColumns) divides the momentum by the lengths of its own. What is different here is
//! that the second moment of the inputs is a diagonal and one vector: no matrix of the input's size is made, kept or inverted.
//!
//! # Other curvatures: FOOF, Eva, K-FAC, SMAC
//!
//! MAC's claim is K-FAC's progress at SGD's cost. The curvatures that it is compared with are configurations beside
//! [`MacConfig`](crate::MacConfig), which make the same [`Mac`](crate::Mac), and so the same loop, record, report and auxiliary optimizer:
//!
//! | | input side | output side | kept of a layer `[in, out]` | waits for the device |
//! |---|---|---|---|---|
//! | [`MacConfig`](crate::MacConfig) | `ā āᵀ` | – | vectors of `in` | never |
//! | [`SmacConfig`](crate::SmacConfig) | `ā āᵀ` | `diag(z)`, mean squares | and `2 out` | never |
//! | [`EvaConfig`](crate::EvaConfig) | `ā āᵀ` | `ḡ ḡᵀ` | `2 (in + 1 + out)` | never |
//! | [`FoofConfig`](crate::FoofConfig) | `A = E[a aᵀ]` | – | `2 (in + 1)²` | at a refresh |
//! | [`KfacConfig`](crate::KfacConfig) | `A = E[a aᵀ]` | `P = E[g gᵀ]` | `2 (in + 1)² + 2 out²` | at a refresh |
//!
//! To change the curvature and nothing else, take the other settings over:
//!
//! ```
//! use burn::nn::LinearConfig;
//! use mac_burn::{KfacConfig, Mac, MacConfig, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//!
//! let mac = MacConfig::new().with_weight_decay(1e-4).with_tinv(20).with_damping(0.01);
//! let optim: Mac<MacLinear<B>, B> = KfacConfig::new().with_settings_of(&mac).init();
//! # let model: MacLinear<B> = LinearConfig::new(8, 4).init(&Default::default()).into();
//! # assert_eq!(optim.report(&model).layers.len(), 1);
//! ```
//!
//! What differs, and what to know before comparing:
//!
//! - **Damping and scale.** MAC leaves a gradient's length as it is. FOOF, SMAC and Eva keep the factor `1/ρ` of the inverse, and K-FAC divides
//!   by both factors: the learning rate goes with the damping, so search both. Eva and K-FAC limit their steps by a KL clip,
//!   [`kl_clip`](crate::KfacConfig::kl_clip). With the learning rate of the step a clipped step is as long at the end of a schedule as at its
//!   start; give the clip [a rate of its own](crate::KfacConfig::kl_clip_lr) where the schedule is to shorten it.
//! - **Gradients of a mean loss.** What flows back to a layer's outputs is `1/N` of the gradient of a sample's loss, if the loss is a mean over `N`
//!   samples; a sample is an index of the first axis of a layer's input. [`GradientScale`](crate::GradientScale) says what K-FAC makes of that, and has
//!   [another setting](crate::GradientScale::MeanLossOverRows) for a loss that is a mean over tokens too. Eva and SMAC take it as it comes, as their authors do: so the `z` of
//!   SMAC is mostly far below `ρ`, and what the diagonal does depends on the batch size.
//! - **Rows.** A convolution's rows are its patches, those of a sequence its tokens, and padding is none. K-FAC may take the mean over a sample's
//!   rows instead ([`WeightSharing`](crate::WeightSharing)). The values of attention have the second moment of what comes through it for FOOF and
//!   K-FAC, a row for each head and query, and MAC's mean for the others.
//! - **Micro-batches** add up, those of the gradients too: divide the loss of each by their number, so that the sum is that of one mean. Calls of a layer in a
//!   loop, and devices with a mean of their own each, add up too, as if they were further samples.
//! - **Inverses** are made on the host in `f64`, from averages that are read at each refresh: of 1025 numbers a side in 0.07 s on one core, where
//!   Newton–Schulz iterations on a backend for the processor took 1.0 s in `f32`. On a GPU the device waits for them, so raise `tinv`. A matrix that is not positive definite is tried with ten times
//!   its damping; if that fails too, the layer keeps its last inverse. `report()` counts both.
//! - **A bias that is not trained** is no input of 1, with any of them.
//! - **A pass before the optimizer is made** is recorded for MAC, so make the optimizer before the first forward pass: otherwise the first step leaves
//!   the layers as they are, and says so.
//!
//! LNGD, Shampoo and AdaHessian are in the authors' repository too. They are not planned: the latter two use nothing of what recorders see.
//!
//! # Accumulation, devices and threads
//!
//! Sums and counts add up, so the statistics of micro-batches, of repeated calls of a layer and of several devices are those of
//! the whole batch. Accumulating gradients needs nothing of its own:
//!
//! ```
//! use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
//! # use burn::nn::LinearConfig;
//! # use burn::tensor::Tensor;
//! # use mac_burn::{MacConfig, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//! # let mut model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
//! # let mut optim = MacConfig::new().init();
//! # let micro_batches = [1.0, 2.0].map(|value| Tensor::<B, 2>::full([2, 8], value, &device));
//!
//! let mut accumulator = GradientsAccumulator::new();
//! let count = micro_batches.len() as f64;
//! for inputs in micro_batches {
//!     let loss = model.forward(inputs).square().mean() / count;
//!     let grads = GradientsParams::from_grads(loss.backward(), &model);
//!     accumulator.accumulate(&model, grads);
//! }
//! model = optim.step(0.1, model, accumulator.grads());
//! # assert_eq!(optim.report(&model).layers[0].mean_norm_squared, Some(8.0 * 1.5 * 1.5));
//! ```
//!
//! With Burn's `MultiDeviceOptim` each step has the whole batch's mean. Data-parallel workers that share no state (`DDP`) have
//! that of their own share, and drift apart by what the shares differ. With [`replicas`](crate::replicas) their statistics are summed, on several devices or machines, and all
//! stay equal: give each rank the same seed or record, the same number of steps and a share of each batch, reduce its gradients, and call
//! [`try_step`](crate::Mac::try_step), which returns an error where `step` panics. The example `distributed` does all that. For attention's value projection the mean of several
//! parts is exact where the parts attend alike, see [`MacMultiHeadAttention`](crate::MacMultiHeadAttention). A model that
//! trains in a thread of its own should have [`with_fresh_recorders`](crate::with_fresh_recorders); threads that share
//! parameters take turns or work on a `fork`, see [`Recorder`](crate::Recorder).
//!
//! # Target networks, acting policies, GANs
//!
//! A forward pass counts when gradients flow back through it *and* the weight is trained. So most passes that are no training
//! need nothing, and three tools cover the rest:
//!
//! - [`valid()`](burn::module::AutodiffModule::valid) for evaluation and for a policy that acts: it records nothing and makes no
//!   graph.
//! - [`no_grad()`](burn::module::Module::no_grad) for a network that is frozen for good: a teacher, a target network.
//! - [`without_recording`](crate::without_recording) for passes whose gradients flow through a layer to others, as a generator's
//!   do through its discriminator. Without it the discriminator's next step would take the means of both.
//!
//! [`with_fresh_recorders`](crate::with_fresh_recorders) separates a copy that trains by itself, such as a member of an
//! ensemble: until the first step of either, passes of a clone count for its original too.
//!
//! A target network and a policy that acts:
//!
//! ```
//! use burn::module::{AutodiffModule, Module};
//! use burn::optim::{GradientsParams, Optimizer};
//! use mac_burn::with_fresh_recorders;
//! # use burn::nn::LinearConfig;
//! # use burn::tensor::Tensor;
//! # use mac_burn::{MacConfig, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//! # let mut online: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
//! # let mut optim = MacConfig::new().init();
//! # let (states, next_states) = (Tensor::<B, 2>::ones([2, 8], &device), Tensor::ones([2, 8], &device));
//!
//! let target = with_fresh_recorders(online.clone()).no_grad();
//! // Acting: no graph, nothing recorded.
//! let actions = online.valid().forward(states.clone().inner()).argmax(1);
//! // Learning: the pass of `online` is recorded, that of `target` is not.
//! let values = target.forward(next_states).max_dim(1);
//! let loss = (online.forward(states) - values).square().mean();
//! let grads = GradientsParams::from_grads(loss.backward(), &online);
//! online = optim.step(0.01, online, grads);
//! # assert_eq!(actions.dims(), [2, 1]);
//! # assert_eq!(optim.report(&online).layers[0].updates, 1);
//! ```
//!
//! A GAN, with an optimizer for each network and schedules for short runs:
//!
//! ```
//! use burn::optim::{GradientsParams, Optimizer};
//! use mac_burn::without_recording;
//! # use burn::nn::LinearConfig;
//! # use burn::tensor::{Tensor, activation::softplus};
//! # use mac_burn::{MacConfig, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//! # let mut generator: MacLinear<B> = LinearConfig::new(3, 4).init(&device).into();
//! # let mut discriminator: MacLinear<B> = LinearConfig::new(4, 1).init(&device).into();
//! # let real = Tensor::<B, 2>::ones([2, 4], &device);
//! # let noise = || Tensor::<B, 2>::ones([2, 3], &device);
//!
//! let config = MacConfig::new().with_tcov(1).with_tinv(1);
//! let (mut generator_optim, mut discriminator_optim) = (config.init(), config.init());
//!
//! // The generator's pass is no statistic of this step: `detach` ends its graph.
//! let fake = generator.forward(noise()).detach();
//! let scores = softplus(discriminator.forward(fake), 1.0) + softplus(-discriminator.forward(real), 1.0);
//! let grads = GradientsParams::from_grads(scores.mean().backward(), &discriminator);
//! discriminator = discriminator_optim.step(0.05, discriminator, grads);
//!
//! // The discriminator's pass is none of this.
//! let fake = generator.forward(noise());
//! let scores = without_recording(|| discriminator.forward(fake));
//! let grads = GradientsParams::from_grads(softplus(-scores, 1.0).mean().backward(), &generator);
//! generator = generator_optim.step(0.05, generator, grads);
//! # assert_eq!(generator_optim.report(&generator).layers[0].updates, 1);
//! # assert_eq!(discriminator_optim.report(&discriminator).layers[0].updates, 1);
//! ```
//!
//! # Saving and resuming
//!
//! The record of the model, which is that of the plain model, and that of the optimizer are all that the next step depends on:
//! a resumed run continues bit for bit. That is tested on processors; on a GPU with Burn's `autotune`, which chooses kernels by their time, two
//! processes may choose differently and differ by roundings. Load the model first, since that gives the parameters their ids, and statistics belong
//! to ids:
//!
//! ```
//! use burn::module::Module;
//! use burn::optim::{GradientsParams, Optimizer};
//! use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder, Recorder};
//! use mac_burn::{Mac, MacRecord};
//! # use burn::nn::LinearConfig;
//! # use burn::tensor::Tensor;
//! # use mac_burn::{MacConfig, MacLinear};
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # type Model = MacLinear<B>;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = Default::default();
//! # let new_model = || -> Model { LinearConfig::new(8, 4).init(&device).into() };
//! # let model = new_model();
//! # let mut optim = MacConfig::new().init();
//! # let grads = model.forward(Tensor::<B, 2>::ones([2, 8], &device)).sum().backward();
//! # let grads = GradientsParams::from_grads(grads, &model);
//! # let model = optim.step(0.1, model, grads);
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//!
//! let files = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
//! model.save_file(folder.join("model"), &files)?;
//! Recorder::<B>::record(&files, optim.to_record(), folder.join("optim"))?;
//!
//! let model = new_model().load_file(folder.join("model"), &files, &device)?;
//! let record: MacRecord<B> = files.load(folder.join("optim"), &device)?;
//! let optim: Mac<Model, B> = MacConfig::new().try_init()?.try_load_record(record, &model)?;
//! # assert_eq!(optim.report(&model).layers[0].updates, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Settings are those of the configuration; damping and `stat_decay` come back as they were set during training while the
//! configuration is the one that the record was written under. With an auxiliary optimizer the type is `MacRecord<B, AdamW>`,
//! and the optimizer that it is loaded into has one. Burn's `Learner` writes and loads both records, and a checkpoint has a
//! report after it: [`MacRecord::report`](crate::MacRecord::report). The record of another optimizer cannot be continued from:
//! load the model's alone and start with a new optimizer.
//!
//! # Converting a model
//!
//! A layer is converted by `.into()` where the type is known: in the literal of the structure, whose fields have it. Layers in
//! a vector are converted one by one:
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::backend::Backend;
//! use mac_burn::MacLinear;
//!
//! #[derive(Module, Debug)]
//! struct Model<B: Backend> {
//!     hidden: Vec<MacLinear<B>>,
//!     output: MacLinear<B>,
//! }
//!
//! impl<B: Backend> Model<B> {
//!     fn new(device: &B::Device) -> Self {
//!         let hidden: Vec<Linear<B>> = (0..3)
//!             .map(|_| LinearConfig::new(16, 16).init(device))
//!             .collect();
//!         let output = LinearConfig::new(16, 2).init(device);
//!         Self {
//!             hidden: hidden.into_iter().map(Into::into).collect(),
//!             output: output.into(),
//!         }
//!     }
//! }
//! # Model::<burn::backend::Flex>::new(&Default::default());
//! ```
//!
//! The fields of the layer inside a recorded layer can be read (`model.output.weight`), but not assigned. So an edit after
//! `.into()`, such as a custom initialization, does not compile: `w.bias = w.bias.map(..)` is error E0282 where the type of `w`
//! is not known yet (`let w = linear.into();`), and E0594 and E0507 where it is. Edit the layer before it is converted:
//!
//! ```
//! use burn::module::Param;
//! # use burn::nn::LinearConfig;
//! # use mac_burn::MacLinear;
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//!
//! let mut linear = LinearConfig::new(8, 4).init::<B>(&device);
//! linear.bias = linear.bias.map(|bias| bias.map(|values| values.ones_like()));
//! let layer: MacLinear<B> = linear.into();
//! # let bias = layer.bias.as_ref().map(Param::val).expect("it has a bias");
//! # assert_eq!(bias.sum().into_scalar(), 4.0);
//! ```
//!
//! or take a recorded layer apart and convert it again, which gives it a new recorder:
//!
//! ```
//! # use burn::nn::LinearConfig;
//! # use mac_burn::MacLinear;
//! # type B = burn::backend::Autodiff<burn::backend::Flex>;
//! # let device = Default::default();
//! # let layer: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
//! let mut linear = layer.into_inner();
//! linear.weight = linear.weight.map(|values| values * 0.5);
//! let layer: MacLinear<B> = linear.into();
//! # assert!(layer.bias.is_some());
//! ```
//!
//! [`unrecorded`](crate::unrecorded) makes the plain network of the same definition.
//!
//! # A model that cannot be changed
//!
//! A model of another crate, whose fields are private, is covered on the backend `Recording<Autodiff<B>>` of the crate `mac-burn-recording`: it records the weights of Burn's own layers in its
//! operations, with the same optimizers, records and reports. Attention's values have the mean of their tokens there, padding counts, and a weight that is used in several maps in one step
//! gets no statistics from it; [`report`](crate::Mac::report) names what else is not covered. For a model of your own take recorded layers.
//!
//! # Layers
//!
//! Each layer is taken as a linear map from rows of inputs to rows of outputs. MAC has the mean of the input rows; Eva, SMAC and K-FAC use the
//! gradients of the output rows too. A bias adds a 1 to each input row, unless the table says otherwise. A recorded layer has the
//! record, paths, `Display` and forward pass of Burn's; `forward_cache` of attention is Burn's own and records nothing.
//!
//! | layer | recorded | rows of the input side | rows of the output side |
//! |---|---|---|---|
//! | `Linear` | [`MacLinear`](crate::MacLinear) | the input at each index of all axes but the last | the outputs there |
//! | `Conv1d`, `Conv2d`, `Conv3d` | [`MacConv1d`](crate::MacConv1d), [`MacConv2d`](crate::MacConv2d), [`MacConv3d`](crate::MacConv3d) | the patch at each output position, by group | the channels there |
//! | `ConvTranspose1d`, `2d`, `3d` | [`MacConvTranspose1d`](crate::MacConvTranspose1d), [`2d`](crate::MacConvTranspose2d), [`3d`](crate::MacConvTranspose3d) | the channels at each input position, by group; the bias is left out | the patch that they add to |
//! | `Lstm`, `Gru`, `Rnn` and `BiLstm`, `BiGru`, `BiRnn` | [`MacLstm`](crate::MacLstm), [`MacGru`](crate::MacGru), [`MacRnn`](crate::MacRnn), [`MacBiLstm`](crate::MacBiLstm), [`MacBiGru`](crate::MacBiGru), [`MacBiRnn`](crate::MacBiRnn) | `input_transform`: the input at each time step; `hidden_transform`: the hidden state before it, the initial one included | the gate before its activation |
//! | `SwiGlu` | [`MacSwiGlu`](crate::MacSwiGlu) | the input, of both maps | the outputs of each |
//! | `MultiHeadAttention`, `CrossAttention`, transformers | [`MacMultiHeadAttention`](crate::MacMultiHeadAttention), [`MacCrossAttention`](crate::MacCrossAttention), [`MacTransformerEncoder`](crate::MacTransformerEncoder), [`MacTransformerDecoder`](crate::MacTransformerDecoder) | tokens; of value projections what comes through attention | the outputs at each token |
//! | [`SelfAttention`](crate::SelfAttention) | [`MacSelfAttention`](crate::MacSelfAttention) | the same, of one projection to queries, keys and values | the same, of each of the three |
//! | `Embedding` | [`MacEmbedding`](crate::MacEmbedding) | the one-hot token: its frequencies, with an [`embedding_damping`](crate::MacConfig::embedding_damping) | – |
//!
//! and what each curvature makes of them:
//!
//! | | MAC | SMAC | Eva | FOOF | K-FAC | input covariance | mean and variance, steps of known length |
//! |---|---|---|---|---|---|---|---|
//! | linear layers, SwiGLU, recurrent layers | yes | yes | yes | yes | yes | `Linear` | yes |
//! | convolutions | yes | yes | yes | yes | yes | yes | yes |
//! | transposed convolutions | yes | yes | yes | yes | yes | – | yes |
//! | attention | yes | yes | yes | yes | yes | – | yes |
//! | one projection to queries, keys and values | yes | MAC's | yes | yes | yes | – | yes |
//! | embeddings, with `embedding_damping` | frequencies | frequencies | frequencies | frequencies | frequencies | – | frequencies |
//!
//! Norms, `PRelu` and tables of positions have no such rows: leave them as they are, or to an [auxiliary optimizer](#an-auxiliary-optimizer), and with it the
//! bias of a transposed convolution. A plain `PositionWiseFeedForward` is two `MacLinear` and an activation.
//!
//! **Embeddings.** Most tokens are rare, and `ρ / (ρ + p)` compares the damping with a frequency: start at the mean frequency `1 / tokens` or a few times
//! that. The frequencies are moving averages by `stat_decay`, `tcov` and `tinv` as means are, count padding tokens, and have this damping
//! alone; `set_damping` does not change it. An embedding with a damping is one of MAC's layers, with its rate and weight decay, and no longer the
//! auxiliary optimizer's, which is mostly the better choice for a transformer. A head that shares the embedding's weight records nothing of it.
//!
//! The dense ones keep a matrix of the size of a row: of a transposed convolution on the output side `channels_out / groups · kernel` numbers
//! squared. `DeformConv2d` has no recorded form: its patches are interpolated at learnt places, so the weight's inputs cannot be had from the layer's.
//! [`report`](crate::Mac::report) names each parameter that no recorder covers, with the reason.
//!
//! **Recurrent layers.** Gates that see the same input share its sums, and so do both directions of one over two. A step of time is a row, so
//! K-FAC's [`WeightSharing::Reduce`](crate::WeightSharing::Reduce) takes the mean over time. To see the gradient at each gate, SMAC, Eva and K-FAC
//! keep those of all time steps until the backward pass has come to the first. Sequences in parts count as passes of their own, each
//! from the state that it is given.
//!
//! # Layers of your own
//!
//! Any product `input · weight` can be recorded: the layer holds a [`Recorder`](crate::Recorder) for each weight and passes its
//! output through it, see the [example there](crate::Recorder#a-layer-of-your-own). A cell of your own is
//! such a product too: hand over the rows that its weight sees. Attention of your own records queries, keys and the output as
//! linear maps and the value projection by [`record_attended`](crate::Recorder::record_attended);
//! [`AttendedValues`](crate::AttendedValues) has rotary attention with shared heads of keys and values as an example. Padded
//! tokens are left out by [`record_tokens`](crate::Recorder::record_tokens).
//!
//! # Troubleshooting
//!
//! Print [`report`](crate::Mac::report) after some steps, before a search for better settings, and show the warnings that are
//! logged by `log`. The report says what the optimizer does:
//!
//! | in the report | meaning | what to do |
//! |---|---|---|
//! | `no recorder` | a plain layer | take the recorded type, or hold a `Recorder`; or leave it to an auxiliary optimizer |
//! | `nothing recorded` | no gradient flowed back through a recorded pass of it | a pass of `valid()`, within `without_recording` or of a copy with fresh recorders does not count; a layer of your own has to return the output that its recorder returns |
//! | `skipped` | a pattern of `skip_layers` covers it | make the pattern narrower if it is not meant |
//! | `none (embedding)`, `token frequencies` | a recorded embedding, without and with [`embedding_damping`](crate::MacConfig::embedding_damping) | see [embeddings](#layers) |
//! | `in no recorded layer: …` | parameters that no recorder covers, by reason | take the form that is named, or leave them as they are |
//! | `means of tokens, …` | attention's values on a backend that records | recorded attention, to weight the mean by the probabilities |
//! | few parameters preconditioned (below a fifth a warning too) | embeddings or plain layers dominate | an auxiliary optimizer; expect little of MAC itself |
//! | `updates` stays at 1 | the run has fewer steps than `tcov`, or the layer is used in few of them | a smaller `tcov` |
//! | `last refresh` is far back | `tinv` is large for the run, or the layer had no gradient in the steps due | a smaller `tinv` |
//! | `rejected` above 0 | inputs of that layer, or gradients at its outputs that its curvature is made of, were NaN or infinite | a single one is harmless; if most are (a warning too), lower the learning rate and look at the layer before for numbers beyond the range of half precision |
//! | inversions retried or failed | a factor of K-FAC or FOOF was not positive definite, with its damping or with ten times that | raise the damping; the layer goes on with its last inverse, or as it is if it has none |
//! | `gain` near 1 in all layers | damping is far above `‖ā‖²` | lower the damping; with inputs of mean 0, MAC has nothing to do here |
//! | `mean's share` near 0 | the mean says little about the inputs of that layer, see [damping](#damping) | a damping above `‖ā‖²`, or biases will hardly move; compare the run with AdamW's |
//! | `gain` near 0 and the loss stalls, by the mean alone | the common direction is removed altogether | raise the damping to near `‖x̄‖²` |
//! | `‖x̄‖²` grows without end | activations grow | lower the learning rate, decay weights, add norms |
//!
//! And where the report is as it should be:
//!
//! | in the run | what to do |
//! |---|---|
//! | the loss hardly moves from the start | with the step `Momentum`, the rate may be one for Adam: ten to a hundred times as much |
//! | a step of known length diverges | the rate may be one for SGD: AdamW's is right |
//! | the loss is NaN after some steps | a warm-up, a lower rate, or `max_grad_norm`; `guard_gradients` where single batches are at fault |
//! | a transformer is far behind AdamW | an auxiliary optimizer, and its factor before all else |
//! | the first layer diverges with an input covariance | damping near 1, or no covariance |
//! | a run does not continue after loading | the model's record first, then input covariances, then the optimizer's record |
