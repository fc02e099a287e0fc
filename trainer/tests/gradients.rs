//! Gradients through networks and mixers against finite differences, in double precision.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;
use policy::agents::{
    Shape,
    net::{Input, Net},
};
use trainer::learners::{
    critic::{self, Critic, Seen},
    draws::{Draws, Use},
    mixer::{Choices, Mixer, MixerShape, Qmix},
};

type Vars = Vec<(String, Var)>;

fn numbers(draws: &mut Draws, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| draws.uniform() * 2.0 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn vars(parameters: impl IntoIterator<Item = (String, Vec<usize>)>, draws: &mut Draws) -> Vars {
    let var =
        |(name, shape): (String, Vec<usize>)| (name, Var::from_tensor(&numbers(draws, &shape)).unwrap());
    parameters.into_iter().map(var).collect()
}

fn builder(vars: &Vars) -> VarBuilder<'static> {
    let tensors: HashMap<_, _> =
        vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu)
}

/// Moves each of some numbers of each variable to both sides and compares.
fn check(vars: &Vars, loss: impl Fn() -> Result<Tensor>, draws: &mut Draws) {
    const STEP: f64 = 1e-6;
    let value = || loss().unwrap().to_scalar::<f64>().unwrap();
    let gradients = loss().unwrap().backward().unwrap();
    for (name, var) in vars {
        let gradient = gradients.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
        let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let numbers: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
        for _ in 0..12.min(numbers.len()) {
            let index = draws.below(numbers.len());
            let moved = |by: f64| {
                let mut moved = numbers.clone();
                moved[index] += by;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                value()
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            moved(0.0);
            let scale = 1.0 + difference.abs();
            let off = (gradient[index] - difference).abs() / scale;
            assert!(off < 1e-6, "{name}[{index}]: {} instead of {difference}", gradient[index]);
        }
    }
}

#[test]
fn gradients_of_the_network_through_time_are_those_of_finite_differences() {
    let shape = Shape { server_features: 3, context_features: 2, hidden: 6, outputs: 2 };
    let (batch, servers, steps) = (2, 4, 5);
    let mut draws = Draws::new(1, Use::Parameters);
    let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
    let vars = vars(names, &mut draws);
    let net = Net::new(shape, &builder(&vars)).unwrap();
    let mask =
        Tensor::from_slice(&[1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0_f64], (2, 4), &Device::Cpu).unwrap();
    let inputs: Vec<Input> = (0..steps)
        .map(|_| Input {
            servers: numbers(&mut draws, &[batch, servers, 3]),
            context: numbers(&mut draws, &[batch, 2]),
            active: mask.clone(),
        })
        .collect();
    let loss = || {
        let mut hidden = Tensor::zeros((batch, servers, shape.hidden), DType::F64, &Device::Cpu)?;
        let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu)?;
        for input in &inputs {
            let output = net.step(input, &hidden)?;
            loss = (loss + (output.head.sqr()? + output.head)?.sum_all()?)?;
            hidden = output.hidden;
        }
        Ok(loss)
    };
    check(&vars, loss, &mut draws);
}

/// A sequence at once, with servers that come and go, says what it says step by step.
#[test]
fn sequence_at_once_is_the_same_step_by_step() {
    let shape = Shape { server_features: 3, context_features: 2, hidden: 6, outputs: 2 };
    let (batch, servers, steps) = (2, 3, 4);
    let mut draws = Draws::new(3, Use::Parameters);
    let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
    let mut vars = vars(names, &mut draws);
    let net = Net::new(shape, &builder(&vars)).unwrap();
    let hidden = Var::from_tensor(&numbers(&mut draws, &[batch, servers, shape.hidden])).unwrap();
    let active: Vec<f64> = (0..steps * batch * servers).map(|at| f64::from(u8::from(at % 5 != 3))).collect();
    let input = Input {
        servers: numbers(&mut draws, &[steps * batch, servers, 3]),
        context: numbers(&mut draws, &[steps * batch, 2]),
        active: Tensor::from_vec(active, (steps * batch, servers), &Device::Cpu).unwrap(),
    };
    let near = |one: &Tensor, other: &Tensor, bound: f64| {
        let off = (one - other).unwrap().abs().unwrap().max_all().unwrap().to_dtype(DType::F64).unwrap();
        assert!(off.to_scalar::<f64>().unwrap() < bound, "{off}");
    };
    let same = |net: &Net, input: &Input, hidden: &Tensor, bound: f64| {
        let at_once = net.sequence(input, hidden).unwrap();
        let mut memory = hidden.clone();
        for step in 0..steps {
            let output = net.step(&input.moments(batch, step, 1).unwrap(), &memory).unwrap();
            let part = |tensor: &Tensor| tensor.narrow(0, step * batch, batch).unwrap();
            near(&part(&at_once.head), &output.head, bound);
            near(&part(&at_once.decoded), &output.decoded, bound);
            near(&part(&at_once.hidden), &output.hidden, bound);
            memory = output.hidden;
        }
        at_once
    };
    let exact = same(&net, &input, hidden.as_tensor(), 1e-12);

    // In single precision too, whose exponentials are others.
    let single = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap();
    let tensors = vars.iter().map(|(name, var)| (name.clone(), single(var.as_tensor()))).collect();
    let narrow = Net::new(shape, &VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    let part = Input {
        servers: single(&input.servers),
        context: single(&input.context),
        active: single(&input.active),
    };
    let said = same(&narrow, &part, &single(hidden.as_tensor()), 1e-6);
    near(&said.head, &single(&exact.head), 1e-5);

    vars.push(("hidden".into(), hidden.clone()));
    let loss = || {
        let output = net.sequence(&input, hidden.as_tensor())?;
        (output.head.sqr()? + output.head)?.sum_all()? + output.hidden.sqr()?.sum_all()?
    };
    check(&vars, loss, &mut draws);
}

/// The head of a critic, with a server that is not active, and towards what its trunk says and the actions too.
#[test]
fn gradients_of_values_are_those_of_finite_differences() {
    let shape = Shape { server_features: 3, context_features: 2, hidden: 6, outputs: 2 };
    let mut draws = Draws::new(4, Use::Parameters);
    let mut vars = vars(critic::parameters(shape), &mut draws);
    let critic = Critic::new(shape, &builder(&vars)).unwrap();
    let trunk = Var::from_tensor(&numbers(&mut draws, &[2, 4, shape.hidden])).unwrap();
    let actions = Var::from_tensor(&numbers(&mut draws, &[2, 4])).unwrap();
    let active = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0_f64];
    let seen = Seen {
        trunk: trunk.as_tensor().clone(),
        features: numbers(&mut draws, &[2, 4, 3]),
        active: Tensor::from_slice(&active, (2, 4), &Device::Cpu).unwrap(),
    };
    // Of the others, the trunk's own, a value knows nothing.
    vars.retain(|(name, _)| ["action.", "joint.", "value."].iter().any(|head| name.starts_with(head)));
    vars.extend([("trunk".into(), trunk), ("actions".into(), actions.clone())]);
    check(&vars, || critic.value(&seen, actions.as_tensor())?.sqr()?.sum_all(), &mut draws);
}

const MIXER: MixerShape = MixerShape { state: 3, entity: 2, embed: 5, hyper: 7 };

fn mixer(vars: &Vars) -> Mixer {
    Mixer::Qmix(Box::new(Qmix::new(MIXER, &builder(vars)).unwrap()))
}

fn choices(values: Tensor, draws: &mut Draws) -> Choices {
    let (batch, count) = values.dims2().unwrap();
    let mut mask = vec![1.0_f64; batch * count];
    mask[1] = 0.0;
    Choices {
        values,
        mask: Tensor::from_vec(mask, (batch, count), &Device::Cpu).unwrap(),
        state: numbers(draws, &[batch, MIXER.state]),
        entities: numbers(draws, &[batch, count, MIXER.entity]),
    }
}

#[test]
fn gradients_of_the_mixer_are_those_of_finite_differences() {
    let mut draws = Draws::new(2, Use::Parameters);
    let mut vars = vars(MIXER.parameters(), &mut draws);
    let mixer = mixer(&vars);
    let values = Var::from_tensor(&numbers(&mut draws, &[3, 4])).unwrap();
    let choices = choices(values.as_tensor().clone(), &mut draws);
    vars.push(("values".into(), values));
    check(&vars, || mixer.mix(&choices)?.sqr()?.sum_all(), &mut draws);
}

#[test]
fn what_is_better_for_one_choice_is_never_worse_for_the_whole() {
    for seed in 0..50 {
        let mut draws = Draws::new(seed, Use::Parameters);
        let mixer = mixer(&vars(MIXER.parameters(), &mut draws));
        let values = Var::from_tensor(&numbers(&mut draws, &[8, 4])).unwrap();
        let choices = choices(values.as_tensor().clone(), &mut draws);
        let gradients = mixer.mix(&choices).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient: Vec<f64> =
            gradients.get(values.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(gradient.iter().all(|&slope| slope >= 0.0), "{gradient:?}");
        assert_eq!(gradient[1], 0.0, "a choice that does not count does not matter");
        assert!(gradient.iter().any(|&slope| slope > 0.0));
    }
}
