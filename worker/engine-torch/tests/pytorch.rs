//! The engine agrees with PyTorch: same weights, same batches, same losses. `reference/make_reference.py` renews the data.

mod reference;

use serde_json::Value;
use tch::Device;
use trawl_domain::layer::Activation;
use trawl_domain::metric::Metric;
use trawl_engine::{Control, Engine as _, Event, FitJob, MemberLosses, Outcome};
use trawl_engine_torch::{DeviceTable, Torch};

/// The f32 difference between two orders of the same sums after 100 steps.
const TOLERANCE: f64 = 1e-4;

/// The same for networks with convolutions, after 50.
const CNN_TOLERANCE: f64 = 1e-3;

/// All optimizers with and without L2 are the members of one job; each job is compared for 100 steps or more.
fn agrees_with_pytorch(activation: Activation) {
    let data: Value = serde_json::from_str(include_str!("data/pytorch_losses.json")).expect("JSON");
    for (variant, batch_size, epochs) in reference::VARIANTS {
        let expected = &data["losses"][variant][activation.as_str()];
        let job = reference::job(activation, batch_size, epochs, Device::Cpu);
        compare(&job, expected, TOLERANCE, &format!("{activation} {variant}"));
    }
}

/// Trains a job, and compares every loss of every epoch with PyTorch's, by member.
fn compare(job: &FitJob<DeviceTable>, expected: &Value, tolerance: f64, run: &str) {
    let mut seen: Vec<Vec<MemberLosses>> = Vec::new();
    let mut emit = |event: Event<'_>| {
        let Event::Epoch { losses, diverged, .. } = event else {
            return;
        };
        assert_eq!((losses.len(), diverged), (job.members.len(), [].as_slice()));
        seen.push(losses.to_vec());
    };
    let outcome = Torch::new(Device::Cpu)
        .fit(job, &[], &mut emit, &Control::new())
        .expect("trains");
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(seen.len(), job.architecture.epochs as usize);

    let mut worst = 0.0_f64;
    for (epoch, losses) in seen.iter().enumerate() {
        for loss in losses {
            let name = job.members[loss.member].hyperparameters.optimizer;
            let mut compare = |what: &str, got: f64| {
                let expected = expected[loss.member][what][epoch].as_f64().expect("a loss");
                let off = (got - expected).abs() / expected.abs();
                let member = loss.member;
                assert!(
                    off < tolerance,
                    "{run} {name} (member {member}), epoch {epoch}, {what}: {got} is not {expected}"
                );
                worst = worst.max(off);
            };
            compare("train", loss.train_loss);
            compare("val", loss.metrics.get(Metric::ValLoss).expect("rows validate"));
            if expected[loss.member]["mae"].is_array() {
                compare("mae", loss.metrics.get(Metric::ValMae).expect("numbers are predicted"));
                // R² may be 0: the unexplained share is compared instead.
                compare(
                    "unexplained",
                    1.0 - loss.metrics.get(Metric::ValR2).expect("targets differ"),
                );
            }
        }
    }
    println!("{run}: at most {worst:.1e} off");
}

#[test]
fn relu_agrees_with_pytorch() {
    agrees_with_pytorch(Activation::Relu);
}

#[test]
fn leaky_relu_agrees_with_pytorch() {
    agrees_with_pytorch(Activation::LeakyRelu);
}

#[test]
fn sigmoid_agrees_with_pytorch() {
    agrees_with_pytorch(Activation::Sigmoid);
}

#[test]
fn tanh_agrees_with_pytorch() {
    agrees_with_pytorch(Activation::Tanh);
}

#[test]
fn convolutions_and_cross_entropy_agree_with_pytorch() {
    let data: Value = serde_json::from_str(include_str!("data/pytorch_cnn_losses.json")).expect("JSON");
    for network in reference::Images::ALL {
        let (job, name) = (reference::cnn_job(network, Device::Cpu), network.name());
        compare(&job, &data["losses"][name], CNN_TOLERANCE, name);
    }
}

#[test]
fn networks_of_every_layer_agree_with_pytorch() {
    let data: Value = serde_json::from_str(include_str!("data/pytorch_network_losses.json")).expect("JSON");
    for run in reference::network_runs() {
        let tolerance = if run.images { CNN_TOLERANCE } else { TOLERANCE };
        let job = reference::network_job(&run, Device::Cpu);
        compare(&job, &data["losses"][run.name], tolerance, run.name);
    }
}

#[test]
fn losses_of_numbers_agree_with_pytorch() {
    let data: Value = serde_json::from_str(include_str!("data/pytorch_losses.json")).expect("JSON");
    for loss in reference::LOSSES {
        let job = reference::loss_job(loss, Device::Cpu);
        compare(
            &job,
            &data["losses"]["of_numbers"][loss.as_str()],
            TOLERANCE,
            loss.as_str(),
        );
    }
}

#[test]
fn losses_of_classes_agree_with_pytorch() {
    let data: Value = serde_json::from_str(include_str!("data/pytorch_class_losses.json")).expect("JSON");
    for run in reference::class_runs() {
        let job = reference::class_job(&run, Device::Cpu);
        compare(&job, &data["losses"][run.name], TOLERANCE, run.name);
    }
}

/// The networks of a stack have losses of their own: some have smoothing or gamma and others do not, and each has the
/// weights of its own folds.
#[test]
fn a_member_is_the_same_alone_whatever_the_losses_of_others() {
    for run in reference::class_runs() {
        is_the_same_alone(reference::class_job(&run, Device::Cpu));
    }
}

#[test]
fn a_member_of_a_network_of_means_is_the_same_alone() {
    is_the_same_alone(reference::cnn_job(reference::Images::Means, Device::Cpu));
}

#[test]
fn a_member_of_a_network_of_any_layers_is_the_same_alone() {
    for run in reference::network_runs() {
        is_the_same_alone(reference::network_job(&run, Device::Cpu));
    }
}

fn is_the_same_alone(mut job: FitJob<DeviceTable>) {
    let losses = |job: &FitJob<DeviceTable>| {
        let mut seen: Vec<Vec<MemberLosses>> = Vec::new();
        let mut emit = |event: Event<'_>| {
            if let Event::Epoch { losses, .. } = event {
                seen.push(losses.to_vec());
            }
        };
        Torch::new(Device::Cpu)
            .fit(job, &[], &mut emit, &Control::new())
            .expect("trains");
        seen
    };
    let together = losses(&job);
    for (index, member) in job.members.clone().into_iter().enumerate() {
        job.members = vec![member];
        let alone = losses(&job);
        assert_eq!(alone.len(), together.len());
        for (alone, together) in alone.iter().zip(&together) {
            let of_member = (together[index].train_loss, together[index].metrics);
            assert_eq!((alone[0].train_loss, alone[0].metrics), of_member, "member {index}");
        }
    }
}

/// Every setting of optimizers and schedules, clipping, averages and early stopping.
#[test]
fn methods_of_training_agree_with_pytorch() {
    let data: Value = serde_json::from_str(include_str!("data/pytorch_method_losses.json")).expect("JSON");
    for (name, job) in reference::methods::jobs(Device::Cpu) {
        compare(&job, &data["losses"][name], TOLERANCE, name);
    }
}

#[test]
fn a_member_is_the_same_alone_whatever_the_methods_of_others() {
    for (_, job) in reference::methods::jobs(Device::Cpu) {
        is_the_same_alone(job);
    }
}
