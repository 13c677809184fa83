//! Runs of all settings of optimizers and schedules, of clipping, averages and early stopping.

use tch::Device;
use trawl_domain::job::JobMember;
use trawl_domain::layer::Activation;
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::{EarlyStopping, Hyperparameters, Optimizer};
use trawl_domain::schedule::Schedule;
use trawl_domain::seed::FitOwner;
use trawl_engine::FitJob;
use trawl_engine_torch::DeviceTable;

/// Of 80 training rows: seven steps an epoch, of which the last has 8 rows.
const BATCH_SIZE: u32 = 12;
const EPOCHS: u32 = 15;

/// The runs, each with its name.
pub(crate) fn jobs(device: Device) -> Vec<(&'static str, FitJob<DeviceTable>)> {
    let runs = [
        ("optimizers", optimizers()),
        ("clipping", clipping()),
        ("schedules", schedules()),
        ("averages", averages()),
        ("early_stopping", early_stopping()),
    ];
    let job = |members: Vec<Hyperparameters>| {
        let member = |(n, hyperparameters)| JobMember {
            owner: FitOwner::Trial(n),
            fold: n % 5,
            hyperparameters,
        };
        let members = (0..).zip(members).map(member).collect();
        super::table_job(Activation::Tanh, Loss::Mse, BATCH_SIZE, EPOCHS, members, device)
    };
    runs.map(|(name, members)| (name, job(members))).into()
}

fn own(optimizer: Optimizer, learning_rate: f64, change: impl FnOnce(&mut Hyperparameters)) -> Hyperparameters {
    let mut own = Hyperparameters::new(optimizer, learning_rate);
    change(&mut own);
    own
}

fn optimizers() -> Vec<Hyperparameters> {
    vec![
        own(Optimizer::Adam, 0.003, |own| {
            (own.beta1, own.beta2, own.eps) = (0.8, 0.99, 1e-4);
        }),
        own(Optimizer::Adamw, 0.003, |own| {
            (own.beta1, own.beta2, own.weight_decay) = (0.7, 0.95, 0.05);
        }),
        own(Optimizer::Nadam, 0.003, |_| ()),
        own(Optimizer::Nadam, 0.003, |own| {
            (own.beta1, own.beta2, own.eps, own.l2) = (0.8, 0.99, 1e-4, 1e-3);
        }),
        own(Optimizer::Adagrad, 0.02, |_| ()),
        own(Optimizer::Adagrad, 0.02, |own| (own.eps, own.l2) = (1e-2, 1e-3)),
        own(Optimizer::Adadelta, 1.0, |_| ()),
        own(Optimizer::Adadelta, 0.5, |own| {
            (own.rho, own.eps, own.l2) = (0.8, 1e-4, 1e-3);
        }),
        own(Optimizer::Rmsprop, 0.0003, |own| (own.alpha, own.eps) = (0.9, 1e-3)),
        own(Optimizer::Rmsprop, 0.0001, |own| (own.momentum, own.l2) = (0.8, 1e-3)),
        own(Optimizer::Sgd, 0.01, |own| (own.momentum, own.nesterov) = (0.9, true)),
        own(Optimizer::Sgd, 0.01, |own| own.momentum = 0.5),
        own(Optimizer::Sgd, 0.01, |_| ()),
    ]
}

fn clipping() -> Vec<Hyperparameters> {
    vec![
        own(Optimizer::Sgd, 0.05, |own| own.clip_norm = 0.2),
        own(Optimizer::Sgd, 0.05, |own| own.clip_value = 0.02),
        own(Optimizer::Sgd, 0.02, |own| {
            (own.clip_norm, own.clip_value, own.momentum, own.l2) = (0.1, 0.05, 0.9, 1e-2);
        }),
        own(Optimizer::Adam, 0.003, |own| (own.clip_norm, own.l2) = (0.1, 1e-3)),
        own(Optimizer::Adamw, 0.003, |own| (own.clip_value, own.l2) = (0.01, 1e-3)),
        own(Optimizer::Sgd, 0.05, |_| ()),
    ]
}

fn schedules() -> Vec<Hyperparameters> {
    let of = |optimizer, learning_rate, schedule, change: fn(&mut Hyperparameters)| {
        own(optimizer, learning_rate, |own| {
            own.schedule = schedule;
            change(own);
        })
    };
    let sgd = |schedule, change| of(Optimizer::Sgd, 0.05, schedule, change);
    vec![
        sgd(Schedule::Constant, |own| own.warmup = 0.3),
        sgd(Schedule::Cosine, |_| ()),
        sgd(Schedule::Cosine, |own| (own.warmup, own.min_rate) = (0.2, 0.1)),
        sgd(Schedule::Step, |own| (own.decay, own.decay_epochs) = (0.5, 4)),
        sgd(Schedule::Step, |own| {
            (own.decay, own.decay_epochs, own.warmup, own.min_rate) = (0.5, 3, 0.4, 0.2);
        }),
        sgd(Schedule::Exponential, |own| own.decay = 0.9),
        sgd(Schedule::OneCycle, |own| own.warmup = 0.3),
        of(Optimizer::Adam, 0.005, Schedule::OneCycle, |own| {
            (own.warmup, own.min_rate) = (0.5, 0.05);
        }),
        of(Optimizer::Adamw, 0.003, Schedule::Cosine, |own| own.weight_decay = 0.5),
        of(Optimizer::Nadam, 0.003, Schedule::Exponential, |own| {
            (own.decay, own.min_rate) = (0.8, 0.3);
        }),
        of(Optimizer::Rmsprop, 0.0003, Schedule::Step, |own| {
            (own.decay, own.decay_epochs) = (0.1, 5);
        }),
        of(Optimizer::Sgd, 0.3, Schedule::Plateau, |own| {
            (own.decay, own.plateau_epochs) = (0.5, 0);
        }),
        of(Optimizer::Sgd, 0.2, Schedule::Plateau, |own| {
            (own.decay, own.plateau_epochs, own.min_rate, own.momentum) = (0.1, 1, 0.05, 0.9);
        }),
        of(Optimizer::Adam, 0.003, Schedule::Constant, |_| ()),
    ]
}

fn averages() -> Vec<Hyperparameters> {
    vec![
        own(Optimizer::Adam, 0.003, |own| own.ema_decay = 0.9),
        own(Optimizer::Sgd, 0.05, |own| own.ema_decay = 0.99),
        own(Optimizer::Sgd, 0.05, |_| ()),
        own(Optimizer::Adamw, 0.003, |own| {
            (own.ema_decay, own.schedule, own.clip_norm) = (0.5, Schedule::Cosine, 0.5);
        }),
    ]
}

/// Members that stop, soon or late, and one that does not.
fn early_stopping() -> Vec<Hyperparameters> {
    let stops = |patience, min_delta, metric| {
        Some(EarlyStopping {
            patience,
            min_delta,
            metric,
        })
    };
    vec![
        own(Optimizer::Sgd, 0.2, |own| {
            (own.momentum, own.early_stopping) = (0.9, stops(1, 0.0, Metric::ValLoss));
        }),
        own(Optimizer::Sgd, 0.05, |own| {
            own.early_stopping = stops(2, 0.02, Metric::ValLoss);
        }),
        own(Optimizer::Adam, 0.003, |own| {
            own.early_stopping = stops(3, 0.05, Metric::ValMae);
        }),
        own(Optimizer::Sgd, 0.05, |own| {
            (own.ema_decay, own.early_stopping) = (0.8, stops(2, 0.03, Metric::ValR2));
        }),
        own(Optimizer::Adam, 0.003, |own| {
            own.early_stopping = stops(14, 0.0, Metric::ValLoss);
        }),
        own(Optimizer::Adam, 0.003, |_| ()),
    ]
}
