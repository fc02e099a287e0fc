//! From what a learner has learned to a model that can be shipped, and back.

use policy::{
    agents::{Expected, Manifest, Model, ModelError, Parameter},
    features::Schema,
};

use super::params::{Params, set, values};

/// The model of a network that acts: of its parameters by the names of the format; a mixer's are left out.
///
/// `manifest` says what it is. Errors: what the shipping reader would refuse, and a kind or sizes that are not the learner's.
pub fn model(params: &Params, manifest: Manifest, schema: Schema) -> Result<Model, ModelError> {
    let policy = manifest.kind.policy();
    Model::new(manifest, &Expected { policy, schema }, |parameter| {
        values(find(params, parameter)?).map_err(ModelError::Candle)
    })
}

/// Gives a network that is about to learn the parameters of a model. If anything does not fit, nothing changes.
pub fn start_from(params: &Params, model: &Model) -> Result<(), ModelError> {
    let parameters = model.manifest().shape().parameters();
    let vars = parameters.iter().map(|parameter| Ok((find(params, parameter)?, parameter.0)));
    for (var, name) in vars.collect::<Result<Vec<_>, ModelError>>()? {
        set(var, model.tensor(name).to_vec()).map_err(ModelError::Candle)?;
    }
    Ok(())
}

fn find<'a>(params: &'a Params, (name, expected): &Parameter) -> Result<&'a candle_core::Var, ModelError> {
    let (name, expected) = (*name, expected.clone());
    match params.get(name) {
        None => Err(ModelError::Missing { name, expected }),
        Some(var) if var.dims() != expected => {
            Err(ModelError::TensorShape { name, found: var.dims().to_vec(), expected })
        }
        Some(var) => Ok(var),
    }
}
