//! A backend with several devices that counts what is read from them.
//!
//! It is Burn's router with a channel of its own: every operation is handed to `Flex`, and every
//! read and every synchronisation passes through one function, which counts. It also follows which tensors
//! exist.

use burn::tensor::backend::{Backend, DeviceId, DeviceOps, ExecutionError};
use burn::tensor::{DType, Shape, TensorData};
use burn_backend::DTypeUsageSet;
use burn_flex::{Flex, FlexDevice};
use burn_ir::{BackendIr, OperationIr, TensorId, TensorIr, TensorStatus};
use burn_router::{
    BackendRouter, MultiBackendBridge, RouterTensor, Runner, RunnerChannel, RunnerClient,
};
use burn_std::device::Device;
use burn_std::future::DynFut;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The backend; its devices are [`Numbered`].
pub type Counting = BackendRouter<Channel<()>>;

/// The same backend with a type that is read as that of one which fuses.
pub type CountingFusion = BackendRouter<Channel<Fusion<()>>>;

/// The same with a type that is read as that of Burn's CUDA, which fuses.
pub type CountingCuda = BackendRouter<Channel<Fusion<CudaRuntime>>>;

type Inner = Flex;

static READS: AtomicUsize = AtomicUsize::new(0);
static OPERATIONS: AtomicUsize = AtomicUsize::new(0);

/// The counts are of the whole process, so the tests that look at them take turns.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads and synchronisations so far, in the whole process.
pub fn reads() -> usize {
    READS.load(Ordering::SeqCst)
}

/// Operations handed to a device so far, in the whole process.
pub fn operations() -> usize {
    OPERATIONS.load(Ordering::SeqCst)
}

/// Tensors on all devices with their numbers of elements, and what was done with such of a size.
#[derive(Default)]
struct Tensors {
    alive: HashMap<TensorId, usize>,
    passes: HashMap<usize, usize>,
}

static TENSORS: LazyLock<Mutex<Tensors>> = LazyLock::new(Mutex::default);

fn tensors() -> MutexGuard<'static, Tensors> {
    TENSORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Elements of all tensors that exist, in the whole process.
pub fn elements() -> usize {
    tensors().alive.values().sum()
}

/// The number of tensors with so many elements that exist in the whole process.
pub fn tensors_of(elements: usize) -> usize {
    let tensors = tensors();
    let alive = tensors.alive.values();
    alive.filter(|size| **size == elements).count()
}

/// The number of operations so far that read the elements of a tensor with so many; reshapes and slices do not.
pub fn passes_over(elements: usize) -> usize {
    tensors().passes.get(&elements).copied().unwrap_or(0)
}

impl Tensors {
    fn follow(&mut self, op: &OperationIr) {
        for input in op.inputs() {
            if input.status == TensorStatus::ReadWrite {
                self.alive.remove(&input.id);
            }
        }
        if let OperationIr::Drop(dropped) = op {
            self.alive.remove(&dropped.id);
            return;
        }
        if !matches!(op, OperationIr::BaseFloat(_)) {
            for input in op.inputs() {
                *self.passes.entry(input.shape.num_elements()).or_default() += 1;
            }
        }
        for output in op.outputs() {
            self.alive.insert(output.id, output.shape.num_elements());
        }
    }
}

/// A device with a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbered(pub u16);

impl Device for Numbered {
    fn to_id(&self) -> DeviceId {
        DeviceId::new(0, self.0)
    }

    fn from_id(id: DeviceId) -> Self {
        Self(id.index_id)
    }
}

impl DeviceOps for Numbered {}

/// The channel that takes the operations; the parameter is there to be seen in the backend's type.
#[derive(Clone)]
pub struct Channel<Form>(PhantomData<Form>);

/// Called as burn-fusion's backend is.
#[derive(Clone)]
pub struct Fusion<Of>(PhantomData<Of>);

/// Called as cubecl's runtime is.
#[derive(Clone)]
pub struct CudaRuntime;

/// One device.
#[derive(Clone)]
pub struct Client {
    runner: Runner<Inner>,
    device: Numbered,
}

/// Moves tensors between devices as data.
pub struct Bridge;

impl<Form: Clone + Send + Sync + 'static> RunnerChannel for Channel<Form> {
    type Device = Numbered;
    type Bridge = Bridge;
    type Client = Client;
    type FloatElem = f32;
    type IntElem = i64;
    type BoolElem = bool;

    fn name(_device: &Numbered) -> String {
        "counting".into()
    }

    fn init_client(device: &Numbered) -> Client {
        Client {
            runner: Runner::new(FlexDevice),
            device: *device,
        }
    }

    fn get_tensor_handle(tensor: &TensorIr, client: &Client) -> <Inner as BackendIr>::Handle {
        client.runner.get_tensor_handle(tensor)
    }

    fn register_tensor(
        client: &Client,
        handle: <Inner as BackendIr>::Handle,
        shape: Shape,
        dtype: DType,
    ) -> RouterTensor<Client> {
        client
            .runner
            .register_tensor(handle, shape, dtype, client.clone())
    }
}

impl MultiBackendBridge for Bridge {
    type TensorHandle = <Inner as BackendIr>::Handle;
    type Device = Numbered;

    fn change_backend_float(
        tensor: Self::TensorHandle,
        _shape: Shape,
        _device: &Numbered,
    ) -> Self::TensorHandle {
        tensor
    }

    fn change_backend_int(
        tensor: Self::TensorHandle,
        _shape: Shape,
        _device: &Numbered,
    ) -> Self::TensorHandle {
        tensor
    }

    fn change_backend_bool(
        tensor: Self::TensorHandle,
        _shape: Shape,
        _device: &Numbered,
    ) -> Self::TensorHandle {
        tensor
    }
}

impl RunnerClient for Client {
    type Device = Numbered;

    fn register_op(&self, op: OperationIr) {
        // A dropped tensor is no work for a device.
        if !matches!(op, OperationIr::Drop(_)) {
            OPERATIONS.fetch_add(1, Ordering::SeqCst);
        }
        tensors().follow(&op);
        self.runner.register_op(op);
    }

    fn read_tensor_async(&self, tensor: TensorIr) -> DynFut<Result<TensorData, ExecutionError>> {
        READS.fetch_add(1, Ordering::SeqCst);
        self.runner.read_tensor_async(tensor)
    }

    fn sync(&self) -> Result<(), ExecutionError> {
        READS.fetch_add(1, Ordering::SeqCst);
        self.runner.sync()
    }

    fn create_empty_handle(&self) -> TensorId {
        self.runner.create_empty_handle()
    }

    fn register_tensor_data(&self, data: TensorData) -> RouterTensor<Self> {
        let tensor = self.runner.register_tensor_data_desc(data);
        let elements = tensor.shape.num_elements();
        tensors().alive.insert(tensor.id, elements);
        RouterTensor::new(tensor.id, tensor.shape, tensor.dtype, self.clone())
    }

    fn device(&self) -> Numbered {
        self.device
    }

    fn seed(&self, seed: u64) {
        Inner::seed(&FlexDevice, seed);
    }

    fn dtype_usage(&self, dtype: DType) -> DTypeUsageSet {
        self.runner.dtype_usage(dtype)
    }
}
