"""The commander as an operator configures it: the table `[commander]`, and the sink that it makes."""
