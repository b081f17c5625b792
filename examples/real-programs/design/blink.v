// Five lamps that count in Gray code, as place and route sees a small design.
module blink(input clk, output [4:0] lamp);
    reg [25:0] counter = 0;
    always @(posedge clk) counter <= counter + 1;
    assign lamp = counter[25:21] ^ (counter[25:21] >> 1);
endmodule
