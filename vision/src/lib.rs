//! Shared parts of the examples of image classification: data sets, changes of images, networks by name, and runs in
//! burn-train's `Learner` that continue exactly.

pub mod augment;
pub mod cifar;
pub mod image_network;
pub mod learner;
pub mod networks;
pub mod parameter_average;
pub mod small_images;
