import { twice } from "./lib";

enum Mode { Quiet, Loud }

const answer: number = twice(21);
console.log(Mode.Loud === 1 ? `answer ${answer}!` : `answer ${answer}`);
