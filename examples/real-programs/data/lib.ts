export const twice = (n: number): number => n * 2;
export const unused = (): string => "dropped from the bundle";
