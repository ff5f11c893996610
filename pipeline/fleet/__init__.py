"""The actors as the driver has them: started, reached, asked, found dead, replaced."""
