//! Programs of functions, and the code on registers that they become.

use smallvec::{SmallVec, smallvec};

use super::function::{Function, LANES};

/// Where a function finds a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    /// An input of the program.
    Input(usize),
    /// The result of a step before.
    Step(usize),
    /// A number known beforehand.
    Constant(f32),
}

/// A function applied to operands.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) function: Function,
    pub(super) operands: SmallVec<[Operand; 3]>,
}

/// Registers that a program may take; each is a block of elements in memory near the processor.
pub(super) const MAX_REGISTERS: usize = 16;

/// One line of [`Code`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) function: Function,
    pub(super) sources: [Source; 3],
    pub(super) target: Target,
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    /// An input of the program.
    Input(usize),
    /// A register.
    Register(usize),
    /// A row of [`Code::constants`].
    Constant(usize),
}

/// Where an instruction writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// A register.
    Register(usize),
    /// The output itself.
    Output,
}

/// Instructions in order, over registers that are used again once nobody reads them any more.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) instructions: SmallVec<[Instruction; 2]>,
    /// Each constant as often as the widest vector has lanes.
    pub(super) constants: Vec<[f32; LANES]>,
    pub(super) registers: usize,
    /// The register that holds the result, if it is not written to the output directly.
    pub(super) result: Option<usize>,
}

impl Code {
    /// The code of `steps`, of which the last gives the result. Registers below `reserved` are left alone. The result is
    /// kept in a register if `convert`. `None` if there are no steps or the registers do not suffice.
    pub(super) fn new(steps: &[Step], reserved: usize, convert: bool) -> Option<Code> {
        let last = steps.len().checked_sub(1)?;
        let mut last_use: Vec<usize> = (0..steps.len()).collect();
        for (index, step) in steps.iter().enumerate() {
            for operand in &step.operands {
                if let Operand::Step(used) = operand {
                    *last_use.get_mut(*used)? = index;
                }
            }
        }
        let mut code =
            Code { instructions: SmallVec::new(), constants: Vec::new(), registers: reserved, result: None };
        let mut free: Vec<usize> = Vec::new();
        let mut register_of: Vec<Option<usize>> = vec![None; steps.len()];
        for (index, step) in steps.iter().enumerate() {
            let mut sources: SmallVec<[Source; 3]> = smallvec![];
            for operand in &step.operands {
                sources.push(match *operand {
                    Operand::Input(input) => Source::Input(input),
                    Operand::Step(used) => Source::Register((*register_of.get(used)?)?),
                    Operand::Constant(value) => code.constant(value),
                });
            }
            // What is read for the last time here may be written over: functions go element by element.
            for used in (0..index).filter(|&used| last_use[used] == index) {
                free.extend(register_of[used]);
            }
            let target = if index == last && !convert {
                Target::Output
            } else {
                let register = free.pop().unwrap_or_else(|| {
                    code.registers += 1;
                    code.registers - 1
                });
                register_of[index] = Some(register);
                Target::Register(register)
            };
            if index == last {
                code.result = register_of[index];
            } else if last_use[index] == index {
                free.extend(register_of[index]);
            }
            let first = *sources.first()?;
            sources.resize(3, first);
            let sources = [sources[0], sources[1], sources[2]];
            code.instructions.push(Instruction { function: step.function, sources, target });
        }
        (code.registers <= MAX_REGISTERS).then_some(code)
    }

    fn constant(&mut self, value: f32) -> Source {
        let same = |row: &[f32; LANES]| row[0].to_bits() == value.to_bits();
        let found = self.constants.iter().position(same).unwrap_or_else(|| {
            self.constants.push([value; LANES]);
            self.constants.len() - 1
        });
        Source::Constant(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(function: Function, operands: &[Operand]) -> Step {
        Step { function, operands: SmallVec::from_slice(operands) }
    }

    #[test]
    fn a_chain_takes_one_register() {
        use Operand::{Constant, Input, Step};
        let steps = [
            step(Function::Add, &[Input(0), Input(1)]),
            step(Function::Mul, &[Step(0), Constant(2.0)]),
            step(Function::Exp, &[Step(1)]),
            step(Function::Sub, &[Step(2), Constant(2.0)]),
        ];
        let code = Code::new(&steps, 0, false).unwrap();
        assert_eq!((code.registers, code.constants.len(), code.result), (1, 1, None));
        assert_eq!(code.instructions.last().unwrap().target, Target::Output);
        let code = Code::new(&steps, 2, true).unwrap();
        assert_eq!((code.registers, code.result), (3, Some(2)));
    }

    #[test]
    fn what_is_read_again_is_kept() {
        use Operand::{Input, Step};
        let steps = [
            step(Function::Exp, &[Input(0)]),
            step(Function::Neg, &[Step(0)]),
            step(Function::Add, &[Step(1), Step(1)]),
            step(Function::Mul, &[Step(2), Step(0)]),
        ];
        let code = Code::new(&steps, 0, false).unwrap();
        assert_eq!(code.registers, 2);
        assert_eq!(code.instructions[3].sources[..2], [Source::Register(1), Source::Register(0)]);
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(Code::new(&[], 0, false).is_none());
        let wide: Vec<Step> = (0..17).map(|_| step(Function::Neg, &[Operand::Input(0)])).collect();
        let mut all = wide.clone();
        all.extend((1..17).map(|i| step(Function::Add, &[Operand::Step(i - 1), Operand::Step(i)])));
        assert!(Code::new(&all, 0, false).is_none());
    }
}
